"""Every session checks its feeds against the manifest before, and its outputs for NaN and infinity after."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adain_runtime.bundle import Bundle
from adain_runtime.errors import BundleError, InputError, QualityError
from adain_runtime.manifest import Sizes, Tensor
from adain_runtime.session import BaseSession, check_feeds, dimensions_of, output_shape

IMAGE = Tensor("image", "float32", ("batch", 3, "height", "width"))
FEATURES = Tensor("features", "float16", ("batch", 5, "height/8", "width/8"))
SCALE = Tensor("scale", "float32", ("batch", 5, "1|height/8", "1|width/8"))
ALPHA = Tensor("alpha", "float32", ("batch", 1, 1, 1))
SIZES = Sizes(multiple=8, minimum=16, maximum=64)


class Fixed(BaseSession):
    """Gives what it was told to give, and remembers what it was fed."""

    def __init__(self, bundle, **outputs):
        super().__init__(bundle, "a test")
        self.outputs = outputs

    def _run(self, part, feeds):
        self.fed = feeds
        return self.outputs


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


def test_feeds_come_back_in_the_manifests_order_and_types():
    feeds = {"alpha": zeros(2, 1, 1, 1, dtype=np.float64), "image": zeros(2, 3, 16, 24, dtype=np.float16)}
    ready = check_feeds("stylizer", (IMAGE, ALPHA), feeds, SIZES)
    assert list(ready) == ["image", "alpha"]
    assert {values.dtype for values in ready.values()} == {np.dtype(np.float32)}


def test_a_feed_of_the_right_type_is_not_copied():
    image = zeros(1, 3, 16, 16)
    assert check_feeds("encoder", (IMAGE,), {"image": image}, SIZES)["image"] is image


def test_a_float16_feed_is_cast_to_float16():
    feeds = {"features": np.full((1, 5, 2, 2), 1 / 3), "scale": zeros(1, 5, 1, 1)}
    ready = check_feeds("decoder", (FEATURES, SCALE), feeds, SIZES)
    assert ready["features"].dtype == np.float16
    assert (ready["features"] == np.float16(1 / 3)).all()


@pytest.mark.parametrize("shape", [(5, 1, 1), (5, 4, 3), (5, 4, 1), (5, 1, 3)])
def test_scale_and_shift_may_be_one_number_or_one_a_cell(shape):
    check_feeds("decoder", (FEATURES, SCALE), {"features": zeros(2, 5, 4, 3), "scale": zeros(2, *shape)}, SIZES)


@pytest.mark.parametrize(
    ("tensors", "feeds", "named"),
    [
        ((IMAGE,), {}, "encoder takes image; found nothing"),
        ((IMAGE,), {"picture": zeros(1, 3, 16, 16)}, "encoder takes image; found picture"),
        ((IMAGE, ALPHA), {"image": zeros(1, 3, 16, 16)}, "takes image, alpha; found image"),
        ((IMAGE,), {"image": zeros(1, 3, 16, 16), "extra": zeros(1)}, "found extra, image"),
        ((IMAGE,), {"image": zeros(3, 16, 16)}, r"'image': wants the shape \[batch, 3, height, width\]"),
        ((IMAGE,), {"image": zeros(1, 16, 16, 3)}, r"found \(1, 16, 16, 3\)"),
        ((IMAGE,), {"image": zeros(1, 1, 16, 16)}, "'image': wants the shape"),
        ((IMAGE,), {"image": zeros(0, 3, 16, 16)}, "'image': wants the shape"),
        ((IMAGE,), {"image": zeros(1, 3, 0, 16)}, "'image': wants the shape"),
        ((IMAGE,), {"image": zeros(1, 3, 20, 16)}, "height 20 must be a multiple of 8 and at least 16"),
        ((IMAGE,), {"image": zeros(1, 3, 16, 8)}, "width 8 must be a multiple of 8 and at least 16"),
        ((IMAGE,), {"image": zeros(1, 3, 72, 16)}, "height 72 is over 64"),
        ((IMAGE,), {"image": zeros(1, 3, 16, 16, dtype=np.uint8)}, "wants float32, found uint8"),
        ((IMAGE,), {"image": zeros(1, 3, 16, 16, dtype=np.complex64)}, "wants float32, found complex64"),
        ((IMAGE, ALPHA), {"image": zeros(2, 3, 16, 16), "alpha": zeros(1, 1, 1, 1)}, r"'alpha'.*\(batch 2"),
        ((FEATURES, SCALE), {"features": zeros(1, 5, 1, 2), "scale": zeros(1, 5, 1, 1)}, "height 8 must be"),
        ((FEATURES, SCALE), {"features": zeros(1, 5, 4, 4), "scale": zeros(1, 5, 2, 4)}, "'scale': wants the shape"),
        ((FEATURES, SCALE), {"features": zeros(1, 5, 4, 4), "scale": zeros(1, 4, 1, 1)}, "'scale': wants the shape"),
    ],
)
def test_feeds_that_do_not_fit_are_refused_by_name(tensors, feeds, named):
    with pytest.raises(InputError, match=named):
        check_feeds("encoder", tensors, feeds, SIZES)


@given(st.integers(1, 200), st.integers(1, 200))
def test_exactly_the_sizes_of_the_manifest_are_taken(height, width):
    feeds = {"image": zeros(1, 3, height, width)}
    if all(side % 8 == 0 and 16 <= side <= 64 for side in (height, width)):
        assert check_feeds("encoder", (IMAGE,), feeds, SIZES)["image"].shape == (1, 3, height, width)
    else:
        with pytest.raises(InputError, match=f"{height}|{width}"):
            check_feeds("encoder", (IMAGE,), feeds, SIZES)


@given(st.integers(1, 4), st.integers(2, 8), st.integers(2, 8))
def test_output_shapes_follow_from_the_feeds(batch, rows, columns):
    dimensions = dimensions_of((IMAGE,), {"image": zeros(batch, 3, 8 * rows, 8 * columns)})
    assert output_shape(FEATURES, dimensions) == (batch, 5, rows, columns)
    from_features = dimensions_of((FEATURES,), {"features": zeros(batch, 5, rows, columns)})
    assert output_shape(IMAGE, from_features) == (batch, 3, 8 * rows, 8 * columns)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_output_that_is_not_finite_is_an_error_that_names_it_and_the_device(tiny, bad):
    mean = zeros(1, 5, 1, 1)
    mean[0, 3] = bad
    session = Fixed(Bundle.open(tiny), features=zeros(1, 5, 2, 2), mean=mean)
    with pytest.raises(QualityError, match=r"encoder gave values that are not finite in 'mean' on a test") as caught:
        session.run("encoder", {"image": zeros(1, 3, 16, 16)})
    assert caught.value.exit_code == 1
    assert str(tiny) in str(caught.value)


def test_finite_outputs_are_given_as_they_are(tiny):
    image = np.full((1, 3, 16, 16), 0.25, np.float32)
    session = Fixed(Bundle.open(tiny), image=image)
    out = session.run("decoder", {name: zeros(1, 5, 2, 2) for name in ("features", "scale", "shift")})
    assert out["image"] is image
    assert list(session.fed) == ["features", "scale", "shift"]


def test_a_session_that_is_closed_runs_nothing_and_closes_again(tiny):
    with Fixed(Bundle.open(tiny), image=zeros(1)) as session:
        pass
    session.close()
    with pytest.raises(InputError, match="this session is closed"):
        session.run("encoder", {"image": zeros(1, 3, 16, 16)})
    assert not hasattr(session, "fed")


def test_a_part_that_is_none_is_refused_with_those_that_are(tiny):
    with pytest.raises(InputError, match="no part 'painter' in this bundle, which has decoder, encoder, stylizer"):
        Fixed(Bundle.open(tiny)).run("painter", {})


def test_an_input_that_broadcasts_may_stand_before_the_one_that_says_how_large_the_map_is():
    scale = Tensor("scale", "float32", ("batch", 5, "1|height/8", "1|width/8"))
    maps = Tensor("features", "float32", ("batch", 5, "height/8", "width/8"))
    feeds = {"scale": np.ones((1, 5, 2, 3), np.float32), "features": np.ones((1, 5, 2, 3), np.float32)}
    assert list(check_feeds("decoder", (scale, maps), feeds, Sizes())) == ["scale", "features"]
    feeds["scale"] = np.ones((1, 5, 2, 2), np.float32)
    with pytest.raises(InputError, match="scale"):
        check_feeds("decoder", (scale, maps), feeds, Sizes())


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((1, 3, 16, 16)), r"gave float64 \[1, 3, 16, 16\] for 'image'.*says float32 \[1, 3, 16, 16\]"),
        (np.zeros((1, 3, 1, 1), np.float32), r"gave float32 \[1, 3, 1, 1\]"),
        (["a text"], "gave list for 'image'"),
        (None, "gave NoneType for 'image'"),
    ],
)
def test_an_output_that_is_not_what_the_manifest_says_is_a_damaged_bundle(lite, image, said):
    class Wrong(BaseSession):
        def _run(self, part, feeds):
            return {} if image is None else {"image": image}

    ones = np.ones((1, 192, 1, 1), np.float32)
    feeds = {"image": np.zeros((1, 3, 16, 16), np.float32), "mean": ones, "std": ones, "alpha": ones[:, :1]}
    with Wrong(Bundle.open(lite), "a wrong device") as session, pytest.raises(BundleError, match=said):
        session.run("stylizer", feeds)
