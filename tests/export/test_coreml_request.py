"""What a Core ML export may be asked for: sizes, shapes and the oldest system that they need."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adain_export.coreml.package import function_name
from adain_export.coreml.request import LARGEST, CoremlRequest, parse_size, plan
from adain_export.target import Int8
from adain_runtime.errors import InputError
from calibrations import calibrated
from networks import SPECS

SPEC = SPECS["pooled"]
TWO = ((256, 256), (512, 384))


def planned(**options):
    return plan(CoremlRequest("x", **options), SPEC)


def test_one_size_is_fixed_and_runs_on_the_oldest_system():
    made = planned(sizes=((512, 512),))
    assert (made.shapes, made.system, made.multifunction, made.notes) == ("fixed", "iOS16", False, ())


def test_several_sizes_are_functions_of_one_package_and_raise_the_target_by_name():
    made = planned(sizes=TWO)
    assert (made.shapes, made.system, made.multifunction) == ("fixed", "iOS18", True)
    assert made.notes == (
        "the target is iOS18 (macOS 15), which a package with a function for each size needs; without it iOS16 would "
        "do",
    )


def test_below_ios18_several_sizes_are_enumerated():
    made = planned(sizes=TWO, system="iOS17")
    assert (made.shapes, made.system, made.multifunction, made.notes) == ("enumerated", "iOS17", False, ())


def test_from_ios18_one_size_is_one_package_too_so_that_weights_are_stored_once():
    assert planned(system="iOS26").multifunction


def test_int8_activations_raise_the_target_to_ios17(pooled):
    made = planned(int8=Int8(calibrated(pooled)))
    assert made.system == "iOS17"
    assert "int8 activations" in made.notes[0]


def test_a_range_is_bounded_by_all_sizes_and_warns_of_the_neural_engine():
    made = planned(sizes=((512, 384), (256, 256), (1024, 1024)), shapes="range")
    assert (made.default, made.bounds, made.system) == ((512, 384), (256, 1024), "iOS16")
    assert "may leave the Neural Engine at other sizes than its default 512x384" in made.notes[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"shapes": "range"}, "a range from 512x512 has no upper bound"),
        ({"shapes": "enumerated"}, "--shapes enumerated keeps several sizes, and 512x512 is the only one: give --size"),
        (
            {"sizes": TWO, "shapes": "fixed", "system": "iOS17"},
            "--target iOS17 is older than a package with a function",
        ),
        ({"sizes": TWO, "shapes": "enumerated", "system": "iOS16", "parts": ("decoder",)}, "give --target iOS18"),
        ({"sizes": ((130, 130),)}, r"--size 130x130: pooled takes multiples of 8 .* nearest: 128x128 and 136x136"),
        ({"sizes": ((128, 130),)}, "nearest: 128x128 and 128x136"),
        ({"sizes": ((8, 8),)}, "from 16 to 4096; the nearest: 16x16"),
        ({"sizes": ((512, 9000),)}, f"nearest: 512x{LARGEST}"),
        ({"sizes": ()}, "no size to export"),
        ({"sizes": ((64, 64), (64, 64))}, "asked for twice: 64x64"),
        ({"weights": "int2"}, "--weights int2: there are none, int8, pal8, pal6, pal4"),
        ({"shapes": "free"}, "--shapes free: there are fixed, enumerated, range"),
        ({"system": "iOS15"}, "--target iOS15: there are iOS16, iOS17, iOS18, iOS26"),
        ({"io": "video"}, "--io video: there are image, tensor"),
        ({"parts": ("head",)}, "unknown part head"),
    ],
)
def test_what_can_not_be_made_is_refused_with_what_can(options, said):
    with pytest.raises(InputError, match=said):
        planned(**options)


def test_int8_activations_and_a_palette_exclude_each_other(pooled):
    with pytest.raises(InputError, match="--weights pal6 is a palette"):
        CoremlRequest("x", int8=Int8(calibrated(pooled)), weights="pal6")


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_the_nearest_sizes_that_are_named_are_taken(height, width):
    try:
        planned(sizes=((height, width),))
    except InputError as error:
        for size in str(error).rpartition(": ")[2].split(" and "):
            planned(sizes=(parse_size(size),))


@pytest.mark.parametrize(("text", "size"), [("512", (512, 512)), ("512x768", (512, 768))])
def test_a_size_is_height_by_width_or_a_square(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "512x", "x512", "-8", "512X512", "5.5", "512x512x3", "1234567"])
def test_another_text_is_no_size(text):
    with pytest.raises(InputError, match="wants HEIGHTxWIDTH"):
        parse_size(text)


@pytest.mark.parametrize(
    ("options", "label"),
    [
        ({}, "fp16"),
        ({"precision": "fp32"}, "fp32"),
        ({"weights": "int8"}, "fp16-w8"),
        ({"weights": "pal4", "precision": "fp32"}, "fp32-pal4"),
    ],
)
def test_the_label_says_how_numbers_are_kept(options, label):
    assert CoremlRequest("x", **options).label == label


def test_int8_activations_are_w8a8(pooled):
    assert CoremlRequest("x", int8=Int8(calibrated(pooled))).label == "fp16-w8a8"


def test_a_function_is_named_by_part_and_size():
    assert function_name("stylizer", (512, 512)) == "stylize_512"
    assert function_name("encoder", (512, 768)) == "encode_512x768"
