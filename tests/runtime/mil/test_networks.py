"""Tiny networks as packages of every kind, executed and held against torch."""

from __future__ import annotations

import dataclasses
import importlib

import numpy as np
import pytest

ct = pytest.importorskip("coremltools", reason="coremltools, which makes the packages, is not installed")

import coremltools.optimize.coreml as cto  # noqa: E402

from adain_runtime.errors import InputError  # noqa: E402
from adain_runtime.metrics import psnr  # noqa: E402
from adain_runtime.mil import Package, value_ranges  # noqa: E402
from mil_programs import converted, feeds_for, save, torch_outputs  # noqa: E402
from networks import SPECS, make_network  # noqa: E402

PARTS = ("encoder", "decoder", "stylizer")
WIDE = dataclasses.replace(  # groups of channels are quantised and palettised together
    SPECS["strided"],
    name="wide",
    encoder=((16,), (32,), (32,), (64,)),
    decoder=((32,), (32,), (16,), (16, 3)),
)


@pytest.fixture(scope="module", params=sorted(SPECS))
def network(request):
    return make_network(SPECS[request.param])


@pytest.fixture(scope="module")
def wide():
    return make_network(WIDE)


@pytest.fixture(scope="module")
def plain(wide):
    """The wide network's stylizer in float16 for an old and a new target, to compress."""
    return {target: converted("stylizer", wide, target=target, half=True) for target in ("iOS16", "iOS18")}


def worst(found, wanted):
    return max(float(np.abs(found[name].astype(np.float64) - wanted[name]).max()) for name in wanted)


@pytest.mark.parametrize(
    ("part", "target"), [*((part, "iOS17") for part in PARTS), ("stylizer", "iOS16"), ("stylizer", "iOS26")]
)
def test_a_float32_package_is_torch(network, part, target, tmp_path):
    package = Package.open(save(converted(part, network, target=target), tmp_path / "a.mlpackage"))
    feeds = feeds_for(part, network, seed=1)
    assert worst(package.run("main", feeds), torch_outputs(part, network, feeds)) < 5e-6


@pytest.mark.parametrize("part", ["encoder", "stylizer"])
def test_a_float16_package_is_close_to_torch_and_not_equal(network, part, tmp_path):
    package = Package.open(save(converted(part, network, half=True), tmp_path / "a.mlpackage"))
    feeds = feeds_for(part, network, seed=1)
    off = worst(package.run("main", feeds), torch_outputs(part, network, feeds))
    assert 1e-6 < off < 2e-2
    poor = package.run("main", feeds, accumulate="float16")
    assert worst(poor, torch_outputs(part, network, feeds)) < 0.2
    assert worst(poor, package.run("main", feeds)) > 0


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_package_of_enumerated_shapes_takes_those_and_no_other(network, part, tmp_path):
    def shapes(shape):
        return ct.EnumeratedShapes([shape, (*shape[:2], shape[2] * 2, shape[3])])

    model = converted(part, network, target="iOS18", shape=shapes)
    package = Package.open(save(model, tmp_path / "a.mlpackage"))
    for height in (32, 64):
        feeds = feeds_for(part, network, height)
        assert worst(package.run("main", feeds), torch_outputs(part, network, feeds)) < 5e-6
    with pytest.raises(InputError, match=r"takes \[1, \d+, \d+, \d+\] or \[1, \d+, \d+, \d+\], found"):
        package.run("main", feeds_for(part, network, 96))


@pytest.mark.parametrize("part", ["encoder", "stylizer"])
def test_a_package_of_a_range_of_shapes_takes_all_within(network, part, tmp_path):
    def shapes(shape):
        return ct.Shape((*shape[:2], ct.RangeDim(2, 128, default=shape[2]), ct.RangeDim(2, 128, default=shape[3])))

    package = Package.open(save(converted(part, network, target="iOS18", shape=shapes), tmp_path / "a.mlpackage"))
    for height, width in ((32, 48), (16, 64)):
        feeds = feeds_for(part, network, height, width)
        assert worst(package.run("main", feeds), torch_outputs(part, network, feeds)) < 5e-6
    with pytest.raises(InputError, match=r"takes \[1, \d+, 2\.\.128, 2\.\.128\], found"):
        package.run("main", feeds_for(part, network, 32, 136))


def test_images_come_and_go_as_pixels(network, tmp_path):
    package = Package.open(save(converted("stylizer", network, pixels=True), tmp_path / "a.mlpackage"))
    feeds = feeds_for("stylizer", network)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    made = package.run("main", feeds | {"image": pixels})["stylized"]
    assert (made.shape, made.dtype) == ((32, 48, 3), np.uint8)
    planes = pixels.transpose(2, 0, 1)[None].astype(np.float32) / 255
    wanted = torch_outputs("stylizer", network, feeds | {"image": planes})["stylized"]
    off = np.abs(made.astype(int) - np.rint(wanted[0].transpose(1, 2, 0) * 255))
    assert off.max() <= 1  # where the exact value is a half, give or take a rounding
    assert (off > 0).mean() < 1e-3
    for wrong in (pixels[:, :, 0], pixels.astype(np.float32), pixels[:-8]):
        with pytest.raises(InputError, match="input 'image'"):
            package.run("main", feeds | {"image": wrong})


def test_a_bgr_image_is_turned_on_its_way(small_bgr, tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(Package.open(small_bgr).run("main", {"x": rgb})["y"], rgb)
    inside = next(Package.open(small_bgr).trace("main", {"x": rgb})).values
    np.testing.assert_array_equal(inside[0, 0], rgb[:, :, 2])


@pytest.fixture
def small_bgr(tmp_path):
    import torch

    colors = {"color_layout": ct.colorlayout.BGR}
    model = ct.convert(
        torch.jit.trace(torch.nn.ReLU(), torch.rand(1, 3, 4, 5)),
        inputs=[ct.ImageType("x", shape=(1, 3, 4, 5), **colors)],
        outputs=[ct.ImageType("y", **colors)],
        minimum_deployment_target=ct.target.iOS16,
        skip_model_load=True,
    )
    return save(model, tmp_path / "bgr.mlpackage")


def test_functions_of_a_package_share_its_weights(network, tmp_path):
    descriptor, parts = ct.utils.MultiFunctionDescriptor(), ("encoder", "stylizer")
    for part in parts:
        path = save(converted(part, network, target="iOS18"), tmp_path / f"{part}.mlpackage")
        descriptor.add_function(str(path), src_function_name="main", target_function_name=f"{part}_32x48")
    descriptor.default_function_name = "stylizer_32x48"
    ct.utils.save_multifunction(descriptor, str(tmp_path / "all.mlpackage"))
    package = Package.open(tmp_path / "all.mlpackage")
    assert set(package.functions) == {f"{part}_32x48" for part in parts}
    assert package.default == "stylizer_32x48"
    for part in parts:
        feeds = feeds_for(part, network)
        assert worst(package.run(f"{part}_32x48", feeds), torch_outputs(part, network, feeds)) < 5e-6


def integers(**options):
    return cto.linear_quantize_weights, cto.OpLinearQuantizerConfig(weight_threshold=0, **options)


def palette(bits, **options):
    mode = "uniform" if bits == 8 else "kmeans"
    return cto.palettize_weights, cto.OpPalettizerConfig(mode=mode, nbits=bits, weight_threshold=0, **options)


def sparse(share=0.3):
    return cto.prune_weights, cto.OpMagnitudePrunerConfig(target_sparsity=share, weight_threshold=0)


# What is done to the weights, the PSNR of images in dB that is left, and whether only iOS18 can hold it.
COMPRESSIONS = {
    "int8": ([integers(mode="linear_symmetric", dtype="int8")], 40, False),
    "uint8": ([integers(mode="linear", dtype="uint8")], 40, False),
    "int4 in blocks": (
        [integers(mode="linear_symmetric", dtype="int4", granularity="per_block", block_size=8)],
        20,
        True,
    ),
    "8-bit palette": ([palette(8)], 40, False),
    "6-bit palette": ([palette(6)], 30, False),
    "4-bit palette": ([palette(4)], 20, False),
    "a palette a group": ([palette(4, granularity="per_grouped_channel", group_size=4)], 20, True),
    "a palette with scales": ([palette(4, enable_per_channel_scale=True)], 20, True),
    "a palette of vectors": ([palette(4, cluster_dim=2)], 10, True),
    "sparse": ([sparse()], 15, False),
    "a sparse palette": ([sparse(), palette(6)], 15, True),
    "sparse int8": ([sparse(), integers(mode="linear_symmetric", dtype="int8")], 15, True),
}


@pytest.mark.parametrize(
    ("target", "name"),
    [("iOS18", name) for name in COMPRESSIONS]
    + [("iOS16", name) for name, (*_, new) in COMPRESSIONS.items() if not new],
)
def test_compressed_weights_are_what_coremltools_decompresses(plain, wide, target, name, tmp_path):
    model, (steps, floor, _) = plain[target], COMPRESSIONS[name]
    if any(step is cto.palettize_weights for step, _ in steps):
        pytest.importorskip("sklearn", reason="scikit-learn, which coremltools makes palettes with, is not installed")
    for number, (step, config) in enumerate(steps):
        joint = {"joint_compression": True} if number else {}
        model = step(model, cto.OptimizationConfig(global_config=config), **joint)
    package = Package.open(save(model, tmp_path / "a.mlpackage"))
    kinds = package.functions["main"].block.kinds
    assert any(kind.startswith("constexpr_") for kind in kinds)
    feeds = feeds_for("stylizer", wide, seed=1)
    found = package.run("main", feeds)["stylized"]
    assert psnr(found, torch_outputs("stylizer", wide, feeds)["stylized"]) > floor
    dense = Package.open(save(cto.decompress_weights(model), tmp_path / "dense.mlpackage"))
    np.testing.assert_allclose(found, dense.run("main", feeds)["stylized"], rtol=0, atol=2e-3)


def test_int8_activations_calibrated_by_the_reference_run(wide, tmp_path, monkeypatch):
    model = converted("stylizer", wide, target="iOS17", half=True)
    quantisation = importlib.import_module("coremltools.optimize.coreml._post_training_quantization")
    seen = []

    def statistics(model, samples, *_, **__):
        package = Package.open(save(model, tmp_path / "calibrated.mlpackage"))
        ranges = value_ranges(package, package.default, samples)
        seen.extend(ranges)
        return {name: {"rmin": found.low, "rmax": found.high} for name, found in ranges.items()}

    monkeypatch.setattr(quantisation, "_get_activation_calibration_stats", statistics)
    samples = [feeds_for("stylizer", wide, seed=seed) for seed in range(2)]
    activations = cto.experimental.OpActivationLinearQuantizerConfig(mode="linear_symmetric")
    model = cto.linear_quantize_activations(model, cto.OptimizationConfig(global_config=activations), samples)
    weights = cto.OpLinearQuantizerConfig(mode="linear_symmetric", granularity="per_channel", weight_threshold=0)
    model = cto.linear_quantize_weights(model, cto.OptimizationConfig(global_config=weights))
    assert seen
    package = Package.open(save(model, tmp_path / "a.mlpackage"))
    assert {"quantize", "dequantize"} <= package.functions["main"].block.kinds
    wanted = torch_outputs("stylizer", wide, samples[0])["stylized"]
    assert psnr(package.run("main", samples[0])["stylized"], wanted) > 25
