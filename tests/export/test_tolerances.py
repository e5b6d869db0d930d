"""tolerances.toml: one place, strictly read, for every precision that is exported."""

from __future__ import annotations

import pytest

from adain_export.tolerances import FILE, PARTS, Metrics, limits_of, load
from adain_runtime.errors import InputError


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int8-fp16"])
@pytest.mark.parametrize("backend", ["onnx", "torch", "of another package"])
def test_every_precision_that_is_exported_has_limits_on_every_backend(backend, precision):
    limits = limits_of(backend, precision)
    for part in ("decoder", "stylizer"):
        assert limits.part(part).psnr > 0
        assert limits.part(part).max_abs > 0
    assert limits.encoder.statistics > 0
    assert limits.stylizer.composition > 0


def test_a_lower_precision_is_never_held_to_more_than_a_higher_one():
    fp32, fp16, int8 = (limits_of("onnx", precision) for precision in ("fp32", "fp16", "int8"))
    for part in ("decoder", "stylizer"):
        assert fp32.part(part).psnr > fp16.part(part).psnr > int8.part(part).psnr
        assert fp32.part(part).max_abs < fp16.part(part).max_abs <= int8.part(part).max_abs
    assert fp32.layer < fp16.layer < int8.layer


def test_a_backend_of_its_own_limits_is_held_to_them(tmp_path):
    text = "\n".join(
        f"[{backend}.fp32]\nlayer = {layer}\n" + "\n".join(f"[{backend}.fp32.{part}]" for part in PARTS)
        for backend, layer in (("any", 1.0), ("mine", 2.0))
    )
    path = tmp_path / "tolerances.toml"
    path.write_text(text, encoding="utf-8")
    table = load(path)
    assert limits_of("mine", "fp32", table).layer == 2
    assert limits_of("yours", "fp32", table).layer == 1
    with pytest.raises(InputError, match="no tolerance is set for mine int4, only for fp32: add"):
        limits_of("mine", "int4", table)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("psnr =", "pnsr =", "unknown field pnsr"),
        ("layer =", "# layer =", "no field layer"),
        ("[any.fp32]", "[any.fp32", "not TOML"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path, old, new, message):
    path = tmp_path / "tolerances.toml"
    path.write_text(FILE.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=message) as error:
        load(path)
    assert str(path) in str(error.value)


def test_what_is_beyond_a_limit_is_said_with_both_numbers():
    limits = Metrics(max_abs=0.1, psnr=40, style_loss=0.01)
    assert Metrics(max_abs=0.1, psnr=40, style_loss=-0.01).beyond(limits) == ()
    assert Metrics(max_abs=0.2, psnr=39, style_loss=-0.02, cosine=0).beyond(limits) == (
        "max_abs 0.2 over 0.1",
        "psnr 39 below 40",
        "style_loss -0.02 over 0.01",
    )
    assert len(Metrics(max_abs=float("nan"), psnr=float("nan")).beyond(limits)) == 2
