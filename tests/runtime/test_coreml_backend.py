"""Backend coreml: refused off a Mac in one line; on a Mac (here a fake of Core ML's calls) guarded and cached."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from adain_runtime.backend import Options, get_backend, require_backend
from adain_runtime.backends import coreml, coreml_first_load
from adain_runtime.errors import InputError, QualityError, UnavailableError

BACKEND = get_backend("coreml")
FAKE = Path(__file__).parents[1] / "fake_core_ml"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A package of four functions."""
    pytest.importorskip("torch", reason="torch, which the bundle is exported from, is not installed")
    pytest.importorskip("coremltools", reason="coremltools, which makes the packages, is not installed")
    from adain_export.coreml.request import CoremlRequest
    from adain_export.target import get_target
    from networks import SPECS, make_network

    request = CoremlRequest("x", sizes=((16, 16), (16, 24)))
    return get_target("coreml").export(make_network(SPECS["strided"]), request, tmp_path_factory.mktemp("coreml"))


@pytest.fixture(scope="module")
def named(bundle, tmp_path_factory):
    """A package of one function that has a name."""
    from adain_export.coreml.request import CoremlRequest
    from adain_export.target import get_target
    from networks import SPECS, make_network

    request = CoremlRequest("x", sizes=((16, 16),), parts=("encoder",), system="iOS18")
    return get_target("coreml").export(make_network(SPECS["strided"]), request, tmp_path_factory.mktemp("named"))


@pytest.fixture(scope="module")
def flexible(tmp_path_factory):
    """A package of one function for two sizes."""
    pytest.importorskip("torch", reason="torch, which the bundle is exported from, is not installed")
    pytest.importorskip("coremltools", reason="coremltools, which makes the packages, is not installed")
    from adain_export.coreml.request import CoremlRequest
    from adain_export.target import get_target
    from networks import SPECS, make_network

    request = CoremlRequest("x", sizes=((16, 16), (16, 24)), parts=("encoder",), shapes="enumerated", system="iOS16")
    return get_target("coreml").export(make_network(SPECS["strided"]), request, tmp_path_factory.mktemp("flexible"))


@pytest.fixture
def mac(bundle, tmp_path, monkeypatch):
    """This machine as a Mac with a fake of coremltools; the path of its log."""
    log = tmp_path / "calls.txt"
    log.write_text("")
    monkeypatch.setattr(coreml.platform, "system", lambda: "Darwin")
    monkeypatch.setenv("PYTHONPATH", str(FAKE))
    monkeypatch.setenv("FAKE_CORE_ML_LOG", str(log))
    monkeypatch.setenv(coreml_first_load.CACHE_VARIABLE, str(tmp_path / "cache"))
    real = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "coremltools"}
    monkeypatch.syspath_prepend(FAKE)
    yield log
    for name in [name for name in sys.modules if name.split(".")[0] == "coremltools"]:
        del sys.modules[name]
    sys.modules.update(real)


def image(height=16, width=16, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (1, 3, height, width))
    return {"image": pixels.astype(np.float32) / np.float32(255)}


def stylized(**changes):
    """Feeds of a stylizer of 10 channels."""
    alone = {"mean": np.zeros((1, 10, 1, 1), np.float32), "std": np.ones((1, 10, 1, 1), np.float32)}
    return image(**changes) | alone | {"alpha": np.full((1, 1, 1, 1), 0.5, np.float32)}


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac has Core ML")
def test_off_a_mac_it_is_unavailable_and_names_the_reference():
    with pytest.raises(UnavailableError, match=r"Core ML runs on macOS only, and this is .*--backend coreml-reference"):
        require_backend("coreml")


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac has Core ML")
def test_off_a_mac_the_command_ends_with_3_and_one_line(adain_run, write_image, noise, tmp_path):
    photo = write_image(tmp_path / "photo.png", noise(16, 16))
    ran = adain_run(photo, photo, "--backend", "coreml", "--model", "anything", "--compute-units", "cpu")
    assert ran.code == 3
    assert "--backend coreml-reference" in ran.one_line()


def test_a_mac_with_an_old_coremltools_is_told_so(monkeypatch):
    monkeypatch.setattr(coreml.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(coreml, "find_spec", lambda _: object())
    monkeypatch.setattr(coreml, "version", lambda _: "8.3.0")
    assert BACKEND.probe().detail == "coremltools 8.3.0 is too old"


def test_a_mac_without_coremltools_is_told_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(coreml.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(coreml, "find_spec", lambda _: None)
    assert BACKEND.probe().fix == 'pip install "coremltools>=9.0,<10"'
    monkeypatch.setattr(coreml.sys, "version_info", (3, 14, 0))
    assert "no wheel for Python" in BACKEND.probe().detail


@pytest.mark.parametrize("size", [(16, 16), (16, 24)])
def test_it_runs_the_function_of_the_size_and_gives_what_the_package_computes(mac, bundle, size):
    with get_backend("coreml-reference").open(bundle, Options()) as reference:
        wanted = reference.run("encoder", image(*size))
    with require_backend("coreml").open(bundle, Options()) as session:
        found = session.run("encoder", image(*size))
    for name, values in wanted.items():
        assert found[name].dtype == values.dtype
        assert np.array_equal(found[name], values)
    height, width = size
    assert f"load ALL encode_{height}" + ("" if height == width else f"x{width}") in mac.read_text()


def test_a_package_of_one_named_function_is_loaded_by_its_name(named, mac):
    """From iOS 18 on functions have names, though there is one."""
    with BACKEND.open(named, Options()) as session:
        session.run("encoder", image())
        assert session.placement("encoder", 16, 16)["ane"] == 6
    assert "load ALL encode_16" in mac.read_text()


def test_images_go_in_and_come_out_as_8_bit_rgb(mac, bundle):
    feeds = stylized()
    with BACKEND.open(bundle, Options()) as session, get_backend("coreml-reference").open(bundle, Options()) as wanted:
        assert np.array_equal(session.run("stylizer", feeds)["image"], wanted.run("stylizer", feeds)["image"])


def test_arrays_that_can_only_be_read_are_copied_for_core_ml(mac, bundle):
    feeds = stylized()
    for values in feeds.values():
        values.flags.writeable = False
    with BACKEND.open(bundle, Options()) as session:
        assert session.run("stylizer", feeds)["image"].shape == (1, 3, 16, 16)


def test_what_runs_where_is_told_once_something_has_run(mac, bundle):
    with BACKEND.open(bundle, Options(provider="cpu-ane")) as session:
        assert session.device == "Core ML cpu-ane"
        session.run("stylizer", stylized())
        assert session.device.startswith("Core ML cpu-ane (13 operations on ane, ")
        assert session.placement("stylizer", 16, 16)["ane"] == 13
        assert session.placement("encoder", 16, 16) == {}  # Core ML plans the default function alone
    assert "load CPU_AND_NE" in mac.read_text()


def test_before_macos_14_4_there_is_no_plan_and_all_the_same_it_runs(mac, bundle, monkeypatch):
    monkeypatch.setenv("FAKE_CORE_ML", "old")
    with BACKEND.open(bundle, Options()) as session:
        assert session.run("stylizer", stylized())["image"].shape == (1, 3, 16, 16)
        assert session.placement("stylizer", 16, 16) == {}
        assert session.device == "Core ML all"


def test_each_shape_of_a_flexible_function_is_tried_before_it_is_run(flexible, mac):
    """One function for all sizes: Core ML may abort at one of them and not at another."""
    with BACKEND.open(flexible, Options()) as session:
        for size in ((16, 16), (16, 24), (16, 16)):
            session.run("encoder", image(*size))
        assert "(6 operations on ane, " in session.device  # of one function, however often it was tried
    calls = mac.read_text().splitlines()
    assert [call for call in calls if call.startswith("predict")] == [
        *["predict (16, 16, 3)"] * 2,
        *["predict (16, 24, 3)"] * 2,
        "predict (16, 16, 3)",
    ]
    assert calls.count("compile") == 1


def test_values_that_are_not_finite_are_blamed_on_core_ml(mac, bundle, monkeypatch):
    with BACKEND.open(bundle, Options()) as session:
        monkeypatch.setattr(session, "_run", lambda *_: _nan(session))
        with pytest.raises(QualityError, match="not finite in 'features' on Core ML all"):
            session.run("encoder", image())


def _nan(session):
    made = {}
    for tensor in session.bundle.part("encoder").outputs:
        shape = [axis if isinstance(axis, int) else 2 for axis in tensor.shape]
        made[tensor.name] = np.full([1, *shape[1:]], np.nan, tensor.dtype)
    return made


def test_a_compiled_model_that_lost_a_file_is_made_again(mac, bundle, tmp_path):
    """A cleaner of caches takes old files, and leaves the folder and the record of the trial."""
    for units in ("all", "all", "cpu"):  # of the last there is no record yet
        with BACKEND.open(bundle, Options(provider=units)) as session:
            session.run("encoder", image())
        for file in (tmp_path / "cache").rglob("weight.bin"):
            file.unlink()
    assert mac.read_text().splitlines().count("compile") == 3


def test_an_output_that_core_ml_leaves_away_is_told(mac, bundle, monkeypatch):
    with BACKEND.open(bundle, Options()) as session:
        session.run("encoder", image())
        monkeypatch.setenv("FAKE_CORE_ML", "nothing")
        with pytest.raises(InputError, match=r"Core ML failed in encode_16 on all \(it gave no features"):
            session.run("encoder", image())
    with (
        BACKEND.open(bundle, Options(provider="cpu")) as session,
        pytest.raises(UnavailableError, match=r"can't load or run it \(RuntimeError: it gave no features"),
    ):
        session.run("encoder", image())


def test_the_second_start_neither_compiles_nor_tries(mac, bundle):
    for _ in range(2):
        with BACKEND.open(bundle, Options()) as session:
            session.run("encoder", image())
            session.run("encoder", image(seed=1))
    calls = [call for call in mac.read_text().splitlines() if not call.startswith("predict")]
    assert calls == ["compile", *["load ALL encode_16"] * 3]  # tried once, loaded by each session


def test_other_units_are_tried_on_the_model_that_was_compiled(mac, bundle):
    for units in ("all", "cpu"):
        with BACKEND.open(bundle, Options(provider=units)) as session:
            session.run("encoder", image())
    assert mac.read_text().splitlines().count("compile") == 1
    assert "load CPU_ONLY encode_16" in mac.read_text()


def test_a_record_that_was_damaged_is_made_again(mac, bundle, tmp_path):
    with BACKEND.open(bundle, Options()) as session:
        session.run("encoder", image())
    record = next((tmp_path / "cache").rglob("encode_16-all-*.json"))
    record.write_text("{")
    with BACKEND.open(bundle, Options()) as session:
        session.run("encoder", image())
    assert record.read_text() != "{"


def test_an_abort_of_core_ml_is_one_line_and_leaves_nothing_remembered(mac, bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_CORE_ML", "abort")
    with BACKEND.open(bundle, Options()) as session:
        with pytest.raises(
            UnavailableError, match=r"encode_16 on .*'all': Core ML ended its process with SIGABRT"
        ) as caught:
            session.run("encoder", image())
        assert "try --compute-units cpu-ane, or cpu" in str(caught.value)
    assert list((tmp_path / "cache").rglob("encode*.json")) == []
    with BACKEND.open(bundle, Options(provider="cpu")) as session:
        assert session.run("encoder", image())["mean"].shape == (1, 10, 1, 1)


def test_a_package_that_core_ml_refuses_is_told_with_its_words(mac, bundle, monkeypatch):
    monkeypatch.setenv("FAKE_CORE_ML", "refuse")
    with (
        BACKEND.open(bundle, Options()) as session,
        pytest.raises(
            UnavailableError,
            match=r"can't load or run it \(RuntimeError: { NSLocalizedDescription = \"Unable to load: in operation",
        ),
    ):
        session.run("encoder", image())


def test_core_ml_that_hangs_is_ended(mac, bundle, monkeypatch):
    monkeypatch.setattr(coreml_first_load, "SECONDS", 0.01)
    with BACKEND.open(bundle, Options()) as session, pytest.raises(UnavailableError, match="was not ready after"):
        session.run("encoder", image())


def test_an_error_while_it_runs_names_the_function(mac, bundle, monkeypatch):
    with BACKEND.open(bundle, Options()) as session:
        session.run("encoder", image())
        monkeypatch.setenv("FAKE_CORE_ML", "fail")
        with pytest.raises(InputError, match=r"Core ML failed in encode_16 on all \(Failed to evaluate model\)"):
            session.run("encoder", image())


def test_units_that_there_are_not_are_refused_with_those_there_are(mac, bundle):
    with pytest.raises(UnavailableError, match="no compute units 'tpu', only all, cpu, cpu-gpu, cpu-ane"):
        BACKEND.open(bundle, Options(provider="tpu"))


def test_options_of_other_backends_are_refused(mac, bundle):
    with pytest.raises(InputError, match="backend coreml has no option 'threads'"):
        BACKEND.open(bundle, Options(threads=1))


def test_a_bundle_of_another_target_is_refused(lite):
    from adain_runtime.bundle import Bundle

    with pytest.raises(InputError, match="exported for onnx, and backend coreml runs coreml"):
        BACKEND.open(Bundle.open(lite), Options())
