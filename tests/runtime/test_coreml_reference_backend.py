"""The coreml-reference backend runs Core ML bundles of every layout, says what it is, and refuses what it can't run."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

ct = pytest.importorskip("coremltools", reason="coremltools, which makes the packages, is not installed")

from adain_model.checkpoint import encoder_id, weights_sha256  # noqa: E402
from adain_runtime.backend import get_backend, open_bundle  # noqa: E402
from adain_runtime.bundle import MANIFEST, describe_files  # noqa: E402
from adain_runtime.errors import BundleError, InputError, QualityError, UnavailableError  # noqa: E402
from adain_runtime.manifest import Function, Manifest, Part, Sizes  # noqa: E402
from adain_runtime.parts import part_interface  # noqa: E402
from adain_runtime.stylizer import Stylizer  # noqa: E402
from mil_programs import INPUTS, converted, edit_spec, feeds_for, model_file, save, torch_outputs, weight_file  # noqa: E402
from networks import SPECS, make_network  # noqa: E402

NAME = "coreml-reference"
HEIGHT, WIDTH = 32, 48


@pytest.fixture(scope="module")
def network():
    return make_network(SPECS["pooled"])


def interface(part, network, file, functions=()):
    whole = part_interface(part, network.spec, file)
    one = [tuple(replace(t, shape=(1, *t.shape[1:])) for t in tensors) for tensors in (whole.inputs, whole.outputs)]
    return Part(file, *one, functions)


def write_manifest(folder, network, parts, sizes=((HEIGHT, WIDTH),), **changes):
    manifest = Manifest(
        name="tiny",
        target="coreml",
        precision="fp32",
        spec=network.spec,
        weights_sha256=weights_sha256(network),
        encoder_id=encoder_id(network),
        parts=parts,
        files=describe_files(folder),
        sizes=Sizes(8, 16, exact=sizes),
    )
    (folder / MANIFEST).write_text(replace(manifest, **changes).to_json())
    return folder


@pytest.fixture(scope="module")
def apart(network, tmp_path_factory):
    """A bundle of a package a part, of one size."""
    folder = tmp_path_factory.mktemp("apart")
    for part in INPUTS:
        save(converted(part, network, height=HEIGHT, width=WIDTH), folder / f"{part}.mlpackage")
    return write_manifest(folder, network, {part: interface(part, network, f"{part}.mlpackage") for part in INPUTS})


@pytest.fixture(scope="module")
def together(network, tmp_path_factory):
    """A bundle of one package with a function for each of two parts and two sizes."""
    folder, made = tmp_path_factory.mktemp("together"), tmp_path_factory.mktemp("functions")
    sizes, parts = ((16, 16), (HEIGHT, WIDTH)), ("encoder", "stylizer")
    descriptor = ct.utils.MultiFunctionDescriptor()
    for part in parts:
        for height, width in sizes:
            name = f"{part}_{height}x{width}"
            save(converted(part, network, target="iOS18", height=height, width=width), made / f"{name}.mlpackage")
            descriptor.add_function(str(made / f"{name}.mlpackage"), "main", name)
    descriptor.default_function_name = "stylizer_16x16"
    ct.utils.save_multifunction(descriptor, str(folder / "tiny.mlpackage"))
    described = {
        part: interface(part, network, "tiny.mlpackage", tuple(Function(f"{part}_{h}x{w}", h, w) for h, w in sizes))
        for part in parts
    }
    return write_manifest(folder, network, described, sizes)


@pytest.fixture
def copied(apart, tmp_path):
    """A copy of the first, to damage."""
    return shutil.copytree(apart, tmp_path / "copied")


def seal(folder):
    """Makes a changed bundle's manifest agree with its files again."""
    plain = json.loads((folder / MANIFEST).read_text())
    files = {name: vars(entry) for name, entry in describe_files(folder).items() if name != MANIFEST}
    (folder / MANIFEST).write_text(json.dumps(plain | {"files": files}))


def test_it_says_that_it_is_not_core_ml(apart):
    assert "not Core ML" in get_backend(NAME).probe().detail
    with open_bundle(apart, backend=NAME) as session:
        assert session.device == "reference, not Core ML"
    for provider in ("float32-sums", "float16-sums"):  # what was asked for by name is said by name
        with open_bundle(apart, backend=NAME, provider=provider) as session:
            assert session.device == f"reference, not Core ML ({provider})"


@pytest.mark.parametrize("part", sorted(INPUTS))
def test_every_part_computes_what_torch_computes(apart, network, part):
    feeds = feeds_for(part, network, HEIGHT, WIDTH, seed=2)
    with open_bundle(apart, backend=NAME) as session:
        made = session.run(part, feeds)
    wanted = torch_outputs(part, network, feeds)
    for values, want in zip(made.values(), wanted.values(), strict=True):
        np.testing.assert_allclose(values, want, rtol=0, atol=5e-6)


def test_a_scale_for_the_whole_map_is_spread_over_it(apart, network):
    feeds = feeds_for("decoder", network, HEIGHT, WIDTH)
    feeds["scale"] = feeds["scale"][:, :, :1, :1]
    with open_bundle(apart, backend=NAME) as session:
        made = session.run("decoder", feeds)["image"]
    np.testing.assert_allclose(made, torch_outputs("decoder", network, feeds)["decoded"], rtol=0, atol=5e-6)


@pytest.mark.parametrize("size", [(16, 16), (HEIGHT, WIDTH)])
@pytest.mark.parametrize("part", ["encoder", "stylizer"])
def test_a_function_is_chosen_by_the_size_of_the_image(together, network, part, size):
    feeds = feeds_for(part, network, *size)
    with open_bundle(together, backend=NAME) as session:
        made = session.run(part, feeds)
        package, function = session.function(part, *size)
        assert (package.path, function) == (together / "tiny.mlpackage", f"{part}_{size[0]}x{size[1]}")
        with pytest.raises(InputError, match="no function for 64x64, only 16x16, 32x48"):
            session.function(part, 64, 64)
    for values, want in zip(made.values(), torch_outputs(part, network, feeds).values(), strict=True):
        np.testing.assert_allclose(values, want, rtol=0, atol=5e-6)


def test_a_picture_is_stylised_from_start_to_end(apart, network, picture):
    photo, painting = picture(30, 41), picture(25, 48, seed=1)
    with Stylizer.open(apart, backend=NAME) as stylizer:
        made = np.asarray(stylizer(photo, [painting], alpha=0.7))
        mask = np.zeros((30, 41), np.uint8)
        mask[:, 20:] = 255
        masked = np.asarray(stylizer(photo, [painting, photo], masks=[mask]))
    assert made.shape == masked.shape == photo.shape
    assert (made != masked).any()


def test_a_picture_goes_in_and_out_of_a_package_of_images(network, tmp_path):
    for part in ("encoder", "stylizer"):
        save(converted(part, network, pixels=True, height=HEIGHT, width=WIDTH), tmp_path / f"{part}.mlpackage")
    parts = {part: interface(part, network, f"{part}.mlpackage") for part in ("encoder", "stylizer")}
    write_manifest(tmp_path, network, parts, options={"io": "image"})
    feeds = feeds_for("stylizer", network, HEIGHT, WIDTH)
    feeds["image"] = np.rint(feeds["image"] * 255).astype(np.float32) / 255
    with open_bundle(tmp_path, backend=NAME) as session:
        made = session.run("stylizer", feeds)["image"]
    wanted = torch_outputs("stylizer", network, feeds)["stylized"]
    assert (made.dtype, made.shape) == (np.float32, wanted.shape)
    np.testing.assert_allclose(made, wanted, rtol=0, atol=0.51 / 255)
    np.testing.assert_allclose(made * 255, np.rint(made * 255), atol=1e-4)


def test_an_alpha_of_another_shape_in_the_package_is_filled(copied, network):
    def flat(spec):
        alpha = next(given for given in spec.description.input if given.name == "alpha")
        del alpha.type.multiArrayType.shape[:]
        alpha.type.multiArrayType.shape.append(1)

    edit_spec(copied / "stylizer.mlpackage", flat)
    seal(copied)
    with (
        open_bundle(copied, backend=NAME) as session,
        pytest.raises(BundleError, match=r"'alpha' is fp32 \[1, 1, 1, 1\], and \[1\] is described"),
    ):
        session.run("stylizer", feeds_for("stylizer", network, HEIGHT, WIDTH))


@pytest.mark.parametrize("alpha", [-0.1, 1.01, float("nan")])
def test_alpha_outside_its_range_is_refused_at_run_time(apart, picture, alpha):
    with (
        Stylizer.open(apart, backend=NAME) as stylizer,
        pytest.raises(InputError, match="alpha must be a number from 0 to 1"),
    ):
        stylizer(picture(32, 48), [picture(32, 48)], alpha=alpha)


def test_an_alpha_that_is_not_finite_is_refused_by_the_session_too(apart, network):
    feeds = feeds_for("stylizer", network, HEIGHT, WIDTH) | {"alpha": np.full((1, 1, 1, 1), np.nan, np.float32)}
    with open_bundle(apart, backend=NAME) as session, pytest.raises(QualityError, match=r"'alpha'.*not finite"):
        session.run("stylizer", feeds)


def test_a_size_that_the_bundle_lacks_is_refused(apart, network):
    with (
        open_bundle(apart, backend=NAME) as session,
        pytest.raises(InputError, match="40x48 is not among the sizes of this bundle, which takes 32x48"),
    ):
        session.run("encoder", feeds_for("encoder", network, 40, WIDTH))


def test_a_flipped_bit_anywhere_in_the_weights_is_found_by_the_bundle(copied, flip_bit):
    flip_bit(weight_file(copied / "encoder.mlpackage"))
    with pytest.raises(BundleError, match=r"weight\.bin: its content is not what the manifest says"):
        open_bundle(copied, backend=NAME)


def test_a_package_cut_short_is_found_though_the_manifest_agrees(copied):
    path = model_file(copied / "stylizer.mlpackage")
    path.write_bytes(path.read_bytes()[:-100])
    seal(copied)
    with pytest.raises(BundleError, match=r"model\.mlmodel: .*(cut short|damaged)"):
        open_bundle(copied, backend=NAME)


def test_weights_cut_short_are_found_when_the_bundle_is_opened(copied):
    path = weight_file(copied / "stylizer.mlpackage")
    path.write_bytes(path.read_bytes()[:-100])
    seal(copied)
    with pytest.raises(BundleError, match=r"weight\.bin: .*(cut short|damaged)"):
        open_bundle(copied, backend=NAME)


def test_operations_that_it_does_not_know_are_named_when_the_bundle_is_opened(copied):
    def change(spec):
        for operation in spec.mlProgram.functions["main"].block_specializations["CoreML7"].operations:
            if operation.type == "relu":
                operation.type = "gelu"

    edit_spec(copied / "decoder.mlpackage", change)
    seal(copied)
    with pytest.raises(InputError, match=r"decoder\.mlpackage: main: has operations .* doesn't know: gelu;"):
        open_bundle(copied, backend=NAME)


def test_functions_that_the_manifest_names_must_be_there(together, network, tmp_path):
    folder = shutil.copytree(together, tmp_path / "renamed")
    plain = json.loads((folder / MANIFEST).read_text())
    plain["parts"]["encoder"]["functions"][0]["name"] = "elsewhere"
    (folder / MANIFEST).write_text(json.dumps(plain))
    with pytest.raises(BundleError, match="has no function 'elsewhere', which the manifest names"):
        open_bundle(folder, backend=NAME)


def test_a_package_of_another_part_is_refused(copied):
    plain = json.loads((copied / MANIFEST).read_text())
    plain["parts"]["encoder"]["file"] = "decoder.mlpackage"
    (copied / MANIFEST).write_text(json.dumps(plain))
    with pytest.raises(BundleError, match="main takes features, scale, shift and gives 1; encoder must take image"):
        open_bundle(copied, backend=NAME)


def test_options_that_mean_nothing_here_are_refused(apart, lite):
    with pytest.raises(InputError, match="no option 'threads'"):
        open_bundle(apart, backend=NAME, threads=1)
    with pytest.raises(UnavailableError, match="no provider 'gpu', only float32-sums, float16-sums"):
        open_bundle(apart, backend=NAME, provider="gpu")
    with pytest.raises(InputError, match="exported for onnx"):
        open_bundle(lite, backend=NAME)


def test_a_package_without_its_bundle_is_told_what_to_name_instead(apart):
    with pytest.raises(InputError, match=r"encoder\.mlpackage: is a package; name the bundle's folder"):
        open_bundle(apart / "encoder.mlpackage", backend=NAME)


def test_a_closed_session_runs_nothing(apart, network):
    session = open_bundle(apart, backend=NAME)
    session.close()
    with pytest.raises(InputError, match="closed"):
        session.run("encoder", feeds_for("encoder", network, HEIGHT, WIDTH))


def test_it_runs_where_torch_coremltools_and_protobuf_are_not_installed(apart, python):
    program = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "coremltools", "onnx", "onnxruntime"} or name.startswith("google"):
            raise ModuleNotFoundError(f"No module named {name!r}: blocked by the test", name=name)
sys.meta_path.insert(0, Blocker())
import numpy as np, adain_runtime as adain
with adain.open_bundle(sys.argv[1], backend="coreml-reference") as session:
    print(session.run("encoder", {"image": np.ones((1, 3, 32, 48), np.float32)})["mean"].shape)
"""
    ran = python(program, apart)
    assert (ran.code, ran.out) == (0, "(1, 10, 1, 1)\n"), ran.err
