from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, JpegImagePlugin, PngImagePlugin

from adain_runtime.errors import InputError
from adain_runtime.image import (
    KEEPS_ALPHA,
    WRITABLE,
    Photo,
    check_writable,
    flattens,
    load_image,
    load_mask,
    resize_shorter,
    save_image,
    to_pil,
)
from pictures import (
    display_p3,
    gamma,
    icc,
    noise,
    one_line,
    rgb_arrays,
    rgba_arrays,
    sides,
    xyz,
)


class TestSave:
    @given(st.one_of(rgb_arrays, rgba_arrays), st.sampled_from([".png", ".tif", ".tiff", ".bmp", ".PNG"]))
    def test_lossless_formats_give_back_every_pixel(self, stored, suffix):
        alpha = stored[..., 3].copy() if stored.shape[2] == 4 else None
        photo = Photo(stored[..., :3].copy(), alpha)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"a{suffix}"
            save_image(photo, path)
            with Image.open(path) as image:
                written = np.asarray(image)
        if alpha is None or suffix in (".png", ".tif", ".tiff", ".PNG"):
            assert np.array_equal(written, stored)
        else:
            opacity = alpha[..., None] / 255
            assert np.abs(written - (photo.rgb * opacity + 255 * (1 - opacity))).max() <= 0.5 + 1e-9

    def test_every_suffix_named_can_be_written_and_keeps_alpha_if_it_says_so(self, tmp_path):
        photo = Photo(noise(20, 30), np.tile(np.arange(0, 240, 8, dtype=np.uint8), (20, 1)))
        assert set(WRITABLE) == {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"}
        for suffix in WRITABLE:
            path = tmp_path / f"a{suffix}"
            save_image(photo, path)
            back = load_image(path)
            assert (back.height, back.width) == (20, 30)
            assert flattens(path, photo) == (suffix not in KEEPS_ALPHA)
            assert flattens(path, to_pil(photo)) == (suffix not in KEEPS_ALPHA)
            assert not flattens(path, Photo(photo.rgb))
            assert (back.alpha is None) == flattens(path, photo)
            assert back.alpha is None or np.array_equal(back.alpha, photo.alpha)
        assert sorted(KEEPS_ALPHA) == [".png", ".tif", ".tiff", ".webp"]

    def test_jpeg_is_written_at_95_without_chroma_subsampling(self, tmp_path):
        save_image(Photo(noise(32, 32)), tmp_path / "a.jpg")
        wanted = io.BytesIO()
        Image.fromarray(noise(32, 32)).save(wanted, "JPEG", quality=95, subsampling=0)
        assert (tmp_path / "a.jpg").read_bytes() == wanted.getvalue()
        with Image.open(tmp_path / "a.jpg") as image:
            assert JpegImagePlugin.get_sampling(image) == 0

    def test_a_lower_quality_makes_a_smaller_file(self, tmp_path):
        for suffix in ("jpg", "webp"):
            save_image(Photo(noise(32, 32)), tmp_path / f"high.{suffix}")
            save_image(Photo(noise(32, 32)), tmp_path / f"low.{suffix}", quality=20)
            low, high = ((tmp_path / f"{name}.{suffix}").stat().st_size for name in ("low", "high"))
            assert low < high
        for quality in (0, 101):
            with pytest.raises(InputError, match=rf"quality {quality} is out of range; give 1 to 100"):
                save_image(Photo(noise(2, 2)), tmp_path / "a.jpg", quality=quality)

    def test_a_pil_image_is_written_upright_in_srgb_without_metadata(self, tmp_path):
        image = Image.new("RGB", (6, 4), (200, 100, 60))
        image.info["icc_profile"] = display_p3()
        image.getexif()[0x0112] = 6
        save_image(image, tmp_path / "a.png")
        with Image.open(tmp_path / "a.png") as written:
            assert isinstance(written, PngImagePlugin.PngImageFile)
            assert written.size == (4, 6)
            assert not written.info
            assert np.array_equal(np.asarray(written), load_image(image).rgb)

    def test_a_pil_image_s_hidden_colours_are_written_as_they_are(self, tmp_path):
        image = Image.fromarray(noise(5, 5, 4))
        save_image(image, tmp_path / "a.png")
        with Image.open(tmp_path / "a.png") as written:
            assert np.array_equal(np.asarray(written), noise(5, 5, 4))

    @pytest.mark.parametrize(("name", "found"), [("a.gif", "the suffix .gif"), ("a", "no suffix")])
    def test_a_suffix_that_cannot_be_written_is_refused_with_those_that_can(self, tmp_path, name, found):
        path = tmp_path / name
        photo = Photo(noise(1, 1))
        for refuse in (
            check_writable,
            lambda path: flattens(path, photo),
            lambda path: save_image(photo, path),
        ):
            with pytest.raises(InputError) as error:
                refuse(path)
            said = one_line(error)
            assert said.startswith(
                f"{path} has {found}; give one that can be written: .jpg, .jpeg, .png, .webp, .tif, .tiff, .bmp"
            )
            assert ("end the folder's name with a slash" in said) is (found == "no suffix")
        check_writable(path.with_suffix(".JPG"))

    @pytest.mark.parametrize(("suffix", "most"), [("webp", 16383), ("jpg", 65500)])
    def test_a_side_longer_than_the_format_holds_is_refused_and_one_as_long_is_not(self, tmp_path, suffix, most):
        save_image(Photo(np.zeros((1, most, 3), np.uint8)), tmp_path / f"a.{suffix}")
        with pytest.raises(InputError, match=rf"{most + 1}x1, and .* holds at most {most} pixels a side; write"):
            save_image(Photo(np.zeros((1, most + 1, 3), np.uint8)), tmp_path / f"b.{suffix}")
        assert not (tmp_path / f"b.{suffix}").exists()

    def test_a_folder_that_is_not_there_is_named(self, tmp_path):
        with pytest.raises(InputError, match=r"can't write .*a\.png: No such file or directory; choose a folder"):
            save_image(Photo(noise(2, 2)), tmp_path / "no" / "a.png")

    def test_a_full_disk_keeps_the_old_file_and_leaves_nothing_half_made(self, tmp_path):
        pytest.importorskip("resource", reason="no file size limits on this system")
        program = """
            import resource, sys
            from pathlib import Path
            import numpy as np
            from adain_runtime.errors import InputError
            from adain_runtime.image import Photo, save_image
            photo = Photo(np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8))
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
            try:
                save_image(photo, Path(sys.argv[1]))
            except InputError as error:
                print(error)
                sys.exit(error.exit_code)
        """
        for suffix in WRITABLE:
            path = tmp_path / f"a{suffix}"
            path.write_bytes(b"the old one")
            done = subprocess.run(
                [sys.executable, "-c", textwrap.dedent(program), str(path)],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 2, done.stderr
            assert done.stdout == (
                f"can't write {path}: File too large; choose a folder that can be written and has room\n"
            )
            assert path.read_bytes() == b"the old one"
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted(f"a{suffix}" for suffix in WRITABLE)


class TestMask:
    @given(st.tuples(sides, sides).flatmap(lambda hw: arrays(np.uint8, hw)))
    def test_grey_values_are_exact_and_no_mask_leaves_0_to_1(self, grey):
        assume(grey.max() != 1)  # labels, which are refused
        mask = load_mask(grey, size=grey.shape)
        assert mask.dtype == np.float32
        assert np.array_equal(mask, grey.astype(np.float32) / np.float32(255))

    @given(st.tuples(sides, sides).flatmap(lambda hw: arrays(np.uint8, hw)), sides, sides)
    def test_any_size_is_brought_to_any_other(self, grey, height, width):
        assume(grey.max() != 1)
        mask = load_mask(grey, size=(height, width))
        assert mask.shape == (height, width)
        assert mask.dtype == np.float32
        assert mask.min() >= grey.min() / 255 - 1e-6
        assert mask.max() <= grey.max() / 255 + 1e-6

    def test_colours_count_by_their_luminance(self):
        colours = np.eye(3, dtype=np.uint8)[None] * np.uint8(255)
        assert np.abs(load_mask(colours, size=(1, 3)) - [[0.299, 0.587, 0.114]]).max() <= 0.5 / 255 + 1e-6

    @pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (200, 10, 10)])
    def test_a_cut_out_in_one_colour_is_its_alpha(self, colour):
        stored = np.zeros((1, 4, 4), np.uint8)
        stored[..., 3] = [0, 51, 204, 255]
        stored[0, 1:, :3] = colour  # what is hidden may be anything
        assert load_mask(stored, size=(1, 4))[0].tolist() == pytest.approx([0, 0.2, 0.8, 1])

    def test_otherwise_what_is_transparent_is_outside(self):
        stored = np.array([[[255, 255, 255, 0], [255, 255, 255, 255], [0, 0, 0, 255], [255, 255, 255, 51]]], np.uint8)
        assert load_mask(stored, size=(1, 4))[0].tolist() == pytest.approx([0, 1, 0, 0.2])

    def test_a_profile_does_not_bend_a_mask(self, tmp_path):
        profile = icc(b"GRAY", b"mntr", b"XYZ ", {b"wtpt": xyz(0.9642, 1.0, 0.8249), b"kTRC": gamma(1.0)})
        Image.new("L", (2, 2), 128).save(tmp_path / "a.png", icc_profile=profile)
        assert load_mask(tmp_path / "a.png", size=(2, 2))[0, 0] == np.float32(128) / np.float32(255)

    def test_shrinking_looks_at_every_pixel(self):
        stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
        assert np.abs(load_mask(stripes, size=(8, 8)) - 0.5).max() < 0.05

    def test_growing_is_bilinear(self):
        mask = load_mask(np.array([[0, 255]], np.uint8), size=(1, 4))
        assert mask[0].tolist() == pytest.approx([0, 0.25, 0.75, 1])

    def test_arrays_of_bool_and_of_floats_are_masks(self):
        assert load_mask(np.array([[True, False]]), size=(1, 2)).tolist() == [[1, 0]]
        values = np.array([[0.25, 0.5], [0.0, 1.0]])
        mask = load_mask(values, size=(2, 2))
        assert mask.dtype == np.float32
        assert np.array_equal(mask, values)

    @pytest.mark.parametrize("value", [-0.1, 1.1, np.nan, 255.0])
    def test_floats_outside_0_to_1_are_refused(self, value):
        with pytest.raises(InputError, match=r"holds values outside \[0, 1\]; divide it"):
            load_mask(np.array([[0.5, value]]), size=(1, 2))

    def test_bad_files_are_refused_as_for_any_image(self, tmp_path):
        with pytest.raises(InputError, match=r"m\.png doesn't exist"):
            load_mask(tmp_path / "m.png", size=(2, 2))
        with pytest.raises(InputError, match=r"over the limit of 15"):
            load_mask(noise(4, 4), size=(2, 2), max_pixels=15)


class TestResizeShorter:
    @given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.booleans())
    def test_the_shorter_side_is_met_and_the_aspect_kept(self, height, width, shorter, enlarge):
        photo = Photo(np.full((height, width, 3), (9, 99, 199), np.uint8), np.full((height, width), 40, np.uint8))
        resized = resize_shorter(photo, shorter, enlarge=enlarge)
        now = min(height, width)
        if now == shorter or (now < shorter and not enlarge):
            assert resized is photo
            return
        assert min(resized.height, resized.width) == shorter
        assert abs(resized.height - height * shorter / now) <= 0.5
        assert abs(resized.width - width * shorter / now) <= 0.5
        assert (resized.rgb == (9, 99, 199)).all()
        assert (resized.alpha == 40).all()

    def test_it_is_pillow_s_lanczos(self):
        wanted = Image.fromarray(noise(20, 30)).resize((15, 10), Image.Resampling.LANCZOS)
        resized = resize_shorter(Photo(noise(20, 30)), 10, enlarge=False)
        assert np.array_equal(resized.rgb, np.asarray(wanted))
        assert resized.alpha is None

    def test_less_than_a_pixel_is_refused(self):
        with pytest.raises(InputError, match=r"shorter side of 0 pixels can't be made; give 1 or more"):
            resize_shorter(Photo(noise(4, 4)), 0, enlarge=True)


@given(st.one_of(rgb_arrays, rgba_arrays))
def test_to_pil_holds_every_pixel(stored):
    alpha = stored[..., 3].copy() if stored.shape[2] == 4 else None
    image = to_pil(Photo(stored[..., :3].copy(), alpha))
    assert image.mode == ("RGB" if alpha is None else "RGBA")
    assert np.array_equal(np.asarray(image), stored)
    assert not image.info


def test_a_mask_of_bytes_that_are_labels_is_refused():
    labels = np.zeros((6, 8), np.uint8)
    labels[:, 4:] = 1
    with pytest.raises(InputError, match=r"values of 0 and 1 only, of 255, .*scale it by 255"):
        load_mask(labels, size=(6, 8))
    assert load_mask(labels * 255, size=(6, 8)).max() == 1
    assert load_mask(labels.astype(bool), size=(6, 8)).max() == 1
    assert load_mask(np.zeros((6, 8), np.uint8), size=(6, 8)).max() == 0
