"""A style is saved bit for bit, mixed as shares say, and refused where it does not belong."""

from __future__ import annotations

import json
import os
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import save

from adain_runtime.errors import InputError
from adain_runtime.style import Style, check_encoder, mix, shares_of

ENCODER = "0123456789abcdef"
finite32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def styles(draw, channels=None) -> Style:
    channels = channels or draw(st.integers(1, 9))
    return Style(
        draw(arrays(np.float32, channels, elements=finite32)),
        draw(arrays(np.float32, channels, elements=st.floats(0, width=32, allow_infinity=False))),
        ENCODER,
        draw(st.text(max_size=20)),
    )


def style(mean=(1.0, -2.0, 3.0), std=(0.5, 1.0, 0.0), encoder_id=ENCODER, source="wave.jpg") -> Style:
    return Style(np.array(mean, np.float32), np.array(std, np.float32), encoder_id, source)


def bits(a: Style) -> tuple[bytes, bytes]:
    return a.mean.tobytes(), a.std.tobytes()


@settings(max_examples=40)
@given(styles())
def test_a_style_comes_back_from_its_file_bit_for_bit(tmp_path_factory, made):
    path = tmp_path_factory.mktemp("style") / "made.adainstyle"
    made.save(path)
    again = Style.load(path)
    assert bits(again) == bits(made)
    assert (again.encoder_id, again.source) == (made.encoder_id, made.source)
    assert again == made
    assert hash(again) == hash(made)


def test_the_same_style_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        style().save(tmp_path / f"{name}.adainstyle")
    assert (tmp_path / "a.adainstyle").read_bytes() == (tmp_path / "b.adainstyle").read_bytes()


def test_rows_of_a_larger_array_are_saved_as_they_read(tmp_path):
    rows = np.arange(8, dtype=np.float32)
    Style(rows[::2], rows[1::2], ENCODER).save(tmp_path / "s.adainstyle")
    again = Style.load(tmp_path / "s.adainstyle")
    assert (again.mean.tolist(), again.std.tolist()) == ([0, 2, 4, 6], [1, 3, 5, 7])


@given(styles())
def test_equal_styles_have_equal_hashes_even_where_a_zero_is_negative(made):
    other = Style(np.where(made.mean == 0, -made.mean, made.mean), made.std, made.encoder_id, "another source")
    assert other == made
    assert hash(other) == hash(made)


def test_styles_differ_by_their_numbers_and_their_encoder_and_from_other_things():
    assert style() != style(mean=(1.0, -2.0, 3.5))
    assert style() != style(std=(0.5, 1.0, 1.0))
    assert style() != style(encoder_id="f" * 16)
    assert style() != "wave.jpg"


@pytest.mark.parametrize(
    ("mean", "std", "named"),
    [
        (np.zeros((2, 1), np.float32), np.zeros((2, 1), np.float32), "one shape"),
        (np.zeros(2, np.float32), np.zeros(3, np.float32), "one shape"),
        (np.zeros(0, np.float32), np.zeros(0, np.float32), "one shape"),
        (np.zeros(2), np.zeros(2), "must be float32"),
        (np.array([np.nan], np.float32), np.ones(1, np.float32), "finite"),
        (np.ones(1, np.float32), np.array([np.inf], np.float32), "finite"),
        (np.ones(1, np.float32), np.array([-0.5], np.float32), "not negative"),
    ],
)
def test_numbers_that_are_no_style_are_refused(mean, std, named):
    with pytest.raises(InputError, match=named):
        Style(mean, std, ENCODER)


def test_a_style_is_saved_under_its_own_suffix_only(tmp_path):
    with pytest.raises(InputError, match=r"wave\.jpg: a style is saved as NAME\.adainstyle"):
        style().save(tmp_path / "wave.jpg")
    assert list(tmp_path.iterdir()) == []


def test_saving_replaces_the_old_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "s.adainstyle"
    path.write_bytes(b"old")
    style().save(path)
    assert Style.load(path) == style()
    assert list(tmp_path.iterdir()) == [path]


def test_saving_that_fails_half_way_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "s.adainstyle"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(InputError, match=r"can't write .*s\.adainstyle: No space left on device"):
        style().save(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("place", ["missing/s.adainstyle", "file/s.adainstyle", f"{'x' * 300}.adainstyle"])
def test_a_place_that_can_not_be_written_is_refused(tmp_path, place):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="can't write"):
        style().save(tmp_path / place)


def file_of(facts=None, dtype="F32", **tensors) -> bytes:
    """A safetensors file written by hand, so that it may hold what no library would write."""
    header, body = {}, b""
    for name, values in tensors.items():
        header[name] = {
            "dtype": dtype,
            "shape": list(values.shape),
            "data_offsets": [len(body), len(body) + values.nbytes],
        }
        body += values.tobytes()
    if facts is not None:
        header["__metadata__"] = {"adain_style": facts if isinstance(facts, str) else json.dumps(facts)}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def whole() -> dict[str, np.ndarray]:
    return {"mean": np.ones(2, np.float32), "std": np.ones(2, np.float32)}


FACTS = {"format": 1, "encoder_id": ENCODER, "source": "wave.jpg"}


def refused(path) -> str:
    with pytest.raises(InputError) as caught:
        Style.load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def test_every_way_to_cut_a_style_short_is_refused(tmp_path):
    path = tmp_path / "s.adainstyle"
    style().save(path)
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        assert "adain-style make" in refused(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert "check the path" in refused(tmp_path / "none.adainstyle")
    (tmp_path / "folder.adainstyle").mkdir()
    refused(tmp_path / "folder.adainstyle")


@pytest.mark.parametrize("content", [b"a text", b"\xff" * 100, save({"weight": np.ones((2, 2), np.float32)})])
def test_a_file_that_is_no_style_is_refused_with_the_command_that_makes_one(tmp_path, content):
    path = tmp_path / "s.adainstyle"
    path.write_bytes(content)
    assert f"make it again with: adain-style make IMAGE -o {path}" in refused(path)


def test_a_huge_file_is_refused_by_its_size_alone(tmp_path):
    path = tmp_path / "s.adainstyle"
    with path.open("wb") as file:
        file.truncate((1 << 24) + 1)  # sparse: nothing is on the disk
    assert "too large to be a style (16,777,217 bytes)" in refused(path)


def test_a_style_written_by_hand_is_read_so_that_the_refusals_below_mean_something(tmp_path):
    path = tmp_path / "s.adainstyle"
    path.write_bytes(file_of(FACTS, **whole()))
    assert Style.load(path).source == "wave.jpg"


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (file_of(None, **whole()), "no style"),
        (file_of([], **whole()), "no style"),
        (file_of("not json", **whole()), "not a style file"),
        (file_of("[" * 100_000, **whole()), "not a style file"),
        (file_of(FACTS | {"format": 2}, **whole()), "a style of format 2, and this version reads 1"),
        (file_of(FACTS | {"source": ["a", "list"]}, **whole()), "no style"),
        (file_of({"format": 1, "source": ""}, **whole()), "a style without 'encoder_id'"),
        (file_of(FACTS | {"encoder_id": 5}, **whole()), "encoder_id"),
        (file_of(FACTS | {"source": 5}, **whole()), "source"),
        (file_of(FACTS, mean=np.ones(2, np.float32)), "wants the tensors mean and std, found ['mean']"),
        (file_of(FACTS, **whole(), extra=np.ones(2, np.float32)), "found ['extra', 'mean', 'std']"),
        (file_of(FACTS, mean=np.ones(2, np.float32), std=np.ones(3, np.float32)), "one shape"),
        (file_of(FACTS, mean=np.ones(2, np.float32), std=-np.ones(2, np.float32)), "not negative"),
        (file_of(FACTS, mean=np.full(2, np.nan, np.float32), std=np.ones(2, np.float32)), "finite"),
        (file_of(FACTS, dtype="F64", mean=np.ones(2), std=np.ones(2)), "must be float32"),
        (
            file_of(FACTS, dtype="BF16", mean=np.ones(2, np.uint16), std=np.ones(2, np.uint16)),
            "must be float32, found BF16",
        ),
        (
            file_of(FACTS, dtype="F8_E4M3", mean=np.ones(2, np.uint8), std=np.ones(2, np.uint8)),
            "must be float32, found F8_E4M3",
        ),
    ],
)
def test_safetensors_of_another_kind_are_refused(tmp_path, content, named):
    path = tmp_path / "s.adainstyle"
    path.write_bytes(content)
    assert named in refused(path)


@given(st.lists(styles(channels=4), min_size=2, max_size=4), st.data())
def test_all_the_weight_on_one_style_is_that_style_exactly(several, data):
    chosen = data.draw(st.integers(0, len(several) - 1))
    weight = data.draw(st.floats(1e-300, 1e300))
    mixed = mix(several, [weight if i == chosen else 0 for i in range(len(several))])
    assert mixed == several[chosen]
    assert mixed.source == several[chosen].source


@given(
    st.lists(styles(channels=4), min_size=2, max_size=5),
    st.lists(st.floats(1e-3, 1e3), min_size=5, max_size=5),
)
def test_a_mix_is_the_weighted_mean_of_means_and_of_deviations(several, weights):
    weights = weights[: len(several)]
    mixed = mix(several, weights)
    for name in ("mean", "std"):
        rows = np.stack([getattr(one, name) for one in several]).astype(np.float64)
        wanted = (rows * np.array(weights)[:, None]).sum(0) / sum(weights)
        np.testing.assert_allclose(getattr(mixed, name), wanted, rtol=1e-6, atol=1e-6 * np.abs(rows).max() + 1e-44)


def test_a_mix_names_its_sources_and_their_shares():
    first, second, third = style(source="wave.jpg"), style(source=""), style(source="night.jpg")
    assert mix([first, second, third], [2, 1, 1]).source == "0.5 wave.jpg + 0.25 style + 0.25 night.jpg"
    assert mix([first, second, third], [1, 0, 1]).source == "0.5 wave.jpg + 0.5 night.jpg"
    assert mix([first, third], [1, 2]).source == "0.333 wave.jpg + 0.667 night.jpg"


def test_one_style_mixes_to_itself():
    only = style()
    assert mix([only]) is only
    assert mix([only], [7]) is only


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=6).filter(any), st.floats(1e-9, 1e9))
def test_shares_are_the_weights_scaled_to_one_whatever_their_unit(weights, unit):
    shares = shares_of(len(weights), [weight * unit for weight in weights])
    np.testing.assert_allclose(shares, np.array(weights) / sum(weights), rtol=1e-12)


def test_without_weights_all_weigh_alike():
    assert shares_of(4, None).tolist() == [0.25] * 4


@pytest.mark.parametrize(
    ("weights", "named"),
    [
        ([], "styles: 2, weights: 0"),
        ([1, 2, 3], "styles: 2, weights: 3"),
        ([-1, 2], "not negative"),
        ([0, 0], "not all zero"),
        ([np.nan, 1], "finite"),
        ([np.inf, 1], "finite"),
        ([1e308, 1e308], "finite"),
    ],
)
def test_weights_that_make_no_shares_are_refused(weights, named):
    with pytest.raises(InputError, match=named):
        mix([style(), style()], weights)


def test_nothing_can_not_be_mixed():
    with pytest.raises(InputError, match="at least one style"):
        mix([])


def test_styles_of_different_encoders_are_not_mixed_not_even_at_weight_zero():
    with pytest.raises(
        InputError, match=rf"night\.jpg was made by encoder {'f' * 16} and the first style .* {ENCODER}"
    ):
        mix([style(), style(encoder_id="f" * 16, source="night.jpg")], [1, 0])
    with pytest.raises(InputError, match="make the style again"):
        mix([style(), style(mean=(1.0,), std=(1.0,))])


def test_a_style_belongs_to_an_encoder_by_its_id_and_its_channels():
    check_encoder(style(), ENCODER, 3, "the model")
    with pytest.raises(InputError, match=r"style wave\.jpg was made by encoder"):
        check_encoder(style(), "f" * 16, 3, "the model")
    with pytest.raises(InputError, match=r"style wave\.jpg has 3 channels and the model has 4"):
        check_encoder(style(), ENCODER, 4, "the model")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.adainstyle")
    with pytest.raises(InputError, match=r"pipe\.adainstyle: is no file"):
        Style.load(tmp_path / "pipe.adainstyle")
