"""The numbers of a case: exact where nothing differs, each metric where its own thing does."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from adain_export.check import pink_noise
from adain_export.tolerances import Limits, Metrics
from adain_parity.blame import assign, stage_of
from adain_parity.composition import composed_feeds
from adain_parity.layers import Traced
from adain_parity.measure import measure
from adain_parity.overview import share_text
from adain_parity.reference import Reference
from adain_parity.results import LayerError
from adain_parity.tolerance_used import part_used
from networks import SPECS, make_network

STRICT = Metrics(max_abs=1e-5, psnr=90, relative_l2=1e-5, mean_error=1e-5, std_error=1e-5, statistics=1e-5)
LIMITS = Limits(STRICT, STRICT, Metrics(max_abs=1e-5, psnr=90, composition=1e-5), 1e-5)


@pytest.fixture(scope="module", params=list(SPECS))
def reference(request):
    return Reference(make_network(SPECS[request.param]))


@pytest.fixture(scope="module")
def truth(reference):
    image, style = (pink_noise(np.random.default_rng(seed), 1, 32, 48) for seed in (1, 2))
    return reference.truth(image, style, 0.6)


@pytest.fixture
def perfect(reference, truth):
    """What a backend that is the reference writes."""
    made = {f"encoder.{name}": values.copy() for name, values in truth.encoded.items()}
    made |= {f"encoder.style_{name}": values.copy() for name, values in truth.style_encoded.items()}
    composed = composed_feeds(truth.encoded["features"], truth.stylizer_feeds, reference.spec)
    *_, (_, image) = reference.layers("decoder", composed)
    return made | {
        "decoder.image": truth.decoded.copy(),
        "stylizer.image": truth.stylized.copy(),
        "stylizer.composed": image,
    }


@pytest.fixture
def judge(reference, truth):
    def run(found, curve=()):
        parts = measure(found, {}, {}, LIMITS, truth, reference)
        return parts, assign(parts, LIMITS, lambda part: Traced(curve=tuple(curve)))

    return run


def test_the_reference_itself_is_exact_and_blames_nothing(judge, perfect):
    parts, blame = judge(perfect)
    encoder, decoder, stylizer = parts
    assert all(parts), [part.failures for part in parts]
    assert blame is None
    assert (encoder.found.relative_l2, encoder.found.mean_error, encoder.found.std_error) == (0, 0, 0)
    assert encoder.found.statistics < 1e-6
    assert (decoder.found.max_abs, decoder.found.psnr, decoder.found.ssim) == (0, None, pytest.approx(1))
    assert stylizer.found.composition < 1e-5
    assert (stylizer.found.content_loss, stylizer.found.style_loss) == (0, 0)


@pytest.mark.parametrize(
    ("name", "change", "stage"),
    [
        ("encoder.features", lambda x: x * 1.01, "encoder"),
        ("encoder.style_features", lambda x: np.ascontiguousarray(x[:, ::-1]), "encoder"),
        ("encoder.std", lambda x: x * 1.01, "adain"),
        ("encoder.style_mean", lambda x: x + 1e-3, "adain"),
        ("decoder.image", lambda x: x + 1e-3, "decoder"),
        ("stylizer.image", lambda x: np.ascontiguousarray(x[:, ::-1]), "adain"),
        ("encoder.features", lambda x: x * np.nan, "encoder"),
        ("decoder.image", lambda x: x * np.inf, "decoder"),
    ],
)
def test_what_is_changed_is_what_is_blamed(judge, perfect, name, change, stage):
    perfect[name] = change(perfect[name])
    parts, blame = judge(perfect)
    assert not all(parts)
    assert blame.stage == stage
    assert sum(not part for part in parts) == 1 or name == "encoder.features"


def test_a_layer_of_the_stylizer_decides_where_its_stages_alone_are_good(judge, perfect):
    perfect["stylizer.image"] = perfect["stylizer.image"] + 0.01
    curve = [LayerError("encoder.conv1_1", 0, 0.5, 1e-5), LayerError("decoder.conv4_1", 1, 0.5, 1e-5)]
    _, blame = judge(perfect, curve)
    assert (blame.stage, blame.layer) == ("encoder", "encoder.conv1_1")
    assert blame.sentence == "encoder, from encoder.conv1_1 on in the stylizer's graph (0.5, allowed 1e-05)"


def test_good_layers_in_a_bad_part_say_that_the_fault_is_around_the_graph(judge, perfect):
    perfect["decoder.image"] = perfect["decoder.image"] + 0.01
    _, blame = judge(perfect, [LayerError("decoder.conv4_1", 0, 1e-7, 1e-5)])
    assert (blame.stage, blame.layer) == ("decoder", None)
    assert "around the graph" in blame.sentence


def test_good_layers_elsewhere_blame_the_backend_and_are_not_shown_as_its_own(perfect, reference, truth):
    perfect["decoder.image"] = perfect["decoder.image"] + 0.01
    parts = measure(perfect, {}, {}, LIMITS, truth, reference)
    where = "ONNX Runtime on the CPU"

    def blamed(error):
        point = LayerError("decoder.conv4_1", 0, error, 1e-5)
        return assign(parts, LIMITS, lambda _: Traced(curve=(point,), elsewhere=where))

    good, bad = blamed(1e-7), blamed(0.5)
    assert (good.stage, good.layer, good.curve) == ("decoder", None, ())
    assert good.sentence.endswith(f"graph is good in {where}, so it is how this backend runs it")
    assert (bad.layer, bad.curve) == ("decoder.conv4_1", ())
    assert f"graph, in {where} too (0.5" in bad.sentence


def test_a_part_that_raised_has_no_result_and_one_that_overflowed_is_not_finite(perfect, reference, truth):
    perfect["decoder.image"] = perfect["decoder.image"] * np.inf
    parts = measure(perfect, {"encoder": "out of memory"}, {}, LIMITS, truth, reference)
    said = {part.part: share_text(part_used(part)) for part in parts}
    assert said["encoder"] == "no result"
    assert said["decoder"] == "not finite"


def test_losses_are_signed_and_a_picture_like_the_style_has_a_lower_style_loss(reference, truth, judge, perfect):
    perfect["stylizer.image"] = truth.style_image.copy()
    (_, _, stylizer), _ = judge(perfect)
    assert stylizer.found.style_loss == pytest.approx(-1, abs=0.01)
    assert stylizer.found.content_loss != 0


def test_a_part_that_raised_is_a_failure_with_its_words(reference, truth, perfect):
    parts = measure(perfect, {"decoder": "out of paint"}, {"encoder": 0.5}, LIMITS, truth, reference)
    encoder, decoder, _ = parts
    assert (decoder.finite, decoder.failures, decoder.found) == (False, ("out of paint",), Metrics())
    assert encoder.seconds == 0.5
    assert assign(parts, LIMITS, lambda part: Traced(unavailable=f"no {part}")).sentence == (
        "decoder (its layers can't be looked into: no decoder)"
    )


def test_a_side_too_small_for_ssim_has_none(reference):
    image = pink_noise(np.random.default_rng(1), 1, 32, 48)
    truth = reference.truth(image, image, 1.0)
    cut = replace(truth, decoded=truth.decoded[:, :, :8])
    found = {"decoder.image": cut.decoded.copy()}
    (part,) = measure(found, {}, {}, LIMITS, cut, reference, asked=["decoder"])
    assert part.found.ssim is None
    assert part.found.max_abs == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"decoder.image": np.zeros((1, 3, 8, 8), np.float32)},
            "gave image [1, 3, 8, 8], and [1, 3, 32, 48] is wanted",
        ),
        ({"encoder.std": None}, "gave no std"),
    ],
)
def test_an_output_of_another_shape_or_none_at_all_is_a_failure_and_not_the_end(judge, perfect, change, words):
    (name, values) = next(iter(change.items()))
    perfect.pop(name)
    if values is not None:
        perfect[name] = values
    parts, blame = judge(perfect)
    bad = next(part for part in parts if not part)
    assert bad.failures == (words,)
    assert blame.stage == name.partition(".")[0]


@pytest.mark.parametrize("missing", ["encoder", "decoder", "stylizer"])
def test_a_part_of_which_nothing_came_out_has_failed_where_it_was_asked_for(perfect, reference, truth, missing):
    found = {name: values for name, values in perfect.items() if not name.startswith(missing)}
    parts = {part.part: part for part in measure(found, {}, {}, LIMITS, truth, reference)}
    assert (parts[missing].finite, parts[missing].failures) == (False, ("gave nothing",))
    assert sum(not part for part in parts.values()) == 1
    others = [name for name in parts if name != missing]
    assert [part.part for part in measure(found, {}, {}, LIMITS, truth, reference, asked=others)] == others


def test_nothing_is_blamed_where_every_part_is_good_and_an_image_is_held_to_what_its_psnr_allows(
    perfect, reference, truth
):
    limits = replace(LIMITS, decoder=Metrics(max_abs=1e-2, psnr=55.0))
    perfect["decoder.image"] = perfect["decoder.image"] + 1e-3  # 60 dB, and far more than a layer may be off by
    parts = measure(perfect, {}, {}, limits, truth, reference)
    assert all(parts)
    assert assign(parts, limits, lambda _: Traced()) is None
    looked_into = assign(parts, limits, lambda _: Traced(), always=True)
    assert (looked_into.stage, looked_into.layer) == (None, None)
    assert all(looked_into.stages)
    perfect["stylizer.image"] = perfect["stylizer.image"] + 0.01
    blamed = assign(measure(perfect, {}, {}, limits, truth, reference), limits, lambda _: Traced())
    assert blamed.stage == "adain"


def test_good_parts_are_not_blamed_for_a_layer_s_limit(perfect, reference, truth):
    limits = Limits(Metrics(), Metrics(), Metrics(), layer=1e-9)
    for name in ("encoder.features", "decoder.image"):
        perfect[name] = perfect[name] * 1.01
    parts = measure(perfect, {}, {}, limits, truth, reference)
    assert assign(parts, limits, lambda _: Traced()) is None
    assert assign(parts, limits, lambda _: Traced(), always=True).stage is None


@pytest.mark.parametrize(
    ("layer", "stage"),
    [
        ("encoder.conv1_1", "encoder"),
        ("adain.std", "adain"),
        ("adain", "adain"),
        ("decoder.conv1_2", "decoder"),
        ("image", "decoder"),
    ],
)
def test_the_stage_of_a_layer(layer, stage):
    assert stage_of(layer) == stage


def test_the_content_loss_is_of_the_features_and_no_tap_before_them():
    spec = replace(SPECS["strided"], encoder=((4,), (6, 6), (8,), (7, 10)))  # the last tap has 7 channels
    reference = Reference(make_network(spec))
    image, style = (pink_noise(np.random.default_rng(seed), 1, 32, 48) for seed in (1, 2))
    truth = reference.truth(image, style, 1.0)
    content, _ = reference.losses(truth.stylized, truth)
    found = reference.truth(truth.stylized, style, 1.0).encoded["features"]
    target = truth.decoder_feeds["features"] * truth.decoder_feeds["scale"] + truth.decoder_feeds["shift"]
    assert content == pytest.approx(np.square(found - target).mean(), rel=1e-4)


def test_a_backend_that_paints_black_is_measured_in_numbers_that_json_has(judge, perfect):
    """Its own outputs have no length, which what they are held against is divided by."""
    for name in ("encoder.features", "stylizer.composed"):
        perfect[name] = np.zeros_like(perfect[name])
    encoder, decoder, stylizer = judge(perfect)[0]
    assert encoder.failures
    assert not decoder.failures
    assert stylizer.failures
    for part in (encoder, stylizer):
        json.dumps(asdict(part.found), allow_nan=False)
