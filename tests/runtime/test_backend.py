"""The registry finds backends by entry point, shows broken ones with their reason, and hides none."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from adain_runtime import backend as registry
from adain_runtime.backend import GROUP, Options, Probe, check_target, open_bundle, require, require_backend
from adain_runtime.backends.null import NullBackend
from adain_runtime.bundle import Bundle
from adain_runtime.errors import InputError, UnavailableError


@pytest.fixture
def installed(monkeypatch):
    """Makes these the entry points of the group: name to value."""

    def install(**values):
        found = EntryPoints(EntryPoint(name, value, GROUP) for name, value in values.items())
        monkeypatch.setattr(registry, "_entries", lambda: found.select(group=registry.GROUP))

    return install


def test_the_backends_of_this_distribution_are_installed():
    assert {"null", "onnx", "torch"} <= set(registry.backend_names())


@pytest.mark.parametrize("name", ["null", "onnx", "torch"])
def test_a_backend_answers_to_its_name_and_its_probe_speaks(name):
    backend = registry.get_backend(name)
    probe = backend.probe()
    assert backend.name == name
    assert probe.detail
    assert bool(probe) == probe.available
    assert probe or probe.fix


def test_another_packages_backend_is_found_by_its_entry_point(installed):
    installed(other="adain_runtime.backends.null:BACKEND")
    assert registry.backend_names() == ["other"]
    assert isinstance(registry.get_backend("other"), NullBackend)


def test_an_unknown_backend_is_refused_with_those_installed(installed):
    installed(zebra="a:b", ant="c:d")
    with pytest.raises(InputError, match="no backend 'nope'; installed: ant, zebra"):
        open_bundle("lite", backend="nope")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("adain_runtime.no_such_module:BACKEND", "ModuleNotFoundError"),
        ("adain_runtime.backends.null:NOTHING", "AttributeError"),
    ],
)
def test_a_broken_backend_is_listed_with_its_reason_and_can_not_be_used(installed, tiny, value, reason):
    installed(broken=value)
    assert registry.backend_names() == ["broken"]
    backend = registry.get_backend("broken")
    assert backend.name == "broken"
    assert not backend.probe()
    assert f"{value} can't be loaded ({reason}" in backend.probe().detail
    for use in (
        lambda: require_backend("broken"),
        lambda: backend.find("lite"),
        lambda: backend.open(Bundle.open(tiny), Options()),
        lambda: open_bundle(tiny, backend="broken"),
    ):
        with pytest.raises(UnavailableError, match=reason) as caught:
            use()
        assert caught.value.exit_code == 3


def test_what_is_missing_is_told_with_the_line_that_installs_it():
    with pytest.raises(UnavailableError, match=r"^backend x: no x here; pip install x$"):
        require("backend x", Probe(False, "no x here", "pip install x"))
    with pytest.raises(UnavailableError, match=r"^backend x: no x here$"):
        require("backend x", Probe(False, "no x here"))
    require("backend x", Probe(True, "here"))


@pytest.mark.parametrize("threads", [0, -1, 100_000, 2**31])
def test_threads_that_make_no_sense_here_are_refused(threads):
    with pytest.raises(InputError, match=rf"threads must be from 1 to \d+ on this machine, found {threads}"):
        Options(threads=threads)


@pytest.mark.parametrize("option", [{"threads": 2}, {"provider": "cuda"}, {"allow_fallback": True}])
def test_an_option_that_a_backend_can_not_honour_is_refused_by_name(tiny, option):
    (name,) = option
    with pytest.raises(InputError, match=f"backend null has no option '{name}'; its options: none"):
        open_bundle(tiny, backend="null", **option)
    Options(**option).only("null", name)
    with pytest.raises(InputError, match=f"has no option '{name}'; its options: rebuild, exact"):
        Options(**option).only("other", "rebuild", "exact")


def test_a_bundle_of_another_target_is_refused_with_the_targets_that_run(make_bundle, tmp_path):
    bundle = Bundle.open(make_bundle(tmp_path / "tiny-coreml-fp32", target="coreml"))
    with pytest.raises(InputError, match="exported for coreml, and backend onnx runs onnx"):
        open_bundle(bundle.path, backend="onnx")
    check_target(bundle, "apple", "mnn", "coreml")


def test_open_bundle_gives_a_session_that_says_what_runs_it(tiny):
    with open_bundle(tiny, backend="null") as session:
        assert session.bundle.path == tiny
        assert session.device == "shapes only"
