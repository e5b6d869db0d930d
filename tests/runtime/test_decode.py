from __future__ import annotations

import io
import os
import struct
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from adain_runtime.errors import InputError
from adain_runtime.image import (
    Photo,
    load_image,
    save_image,
)
from pictures import (
    CYAN_INK,
    P3,
    SEEN,
    SRGB,
    display_p3,
    gamma,
    icc,
    lab_to_srgb,
    lossless,
    noise,
    one_line,
    png,
    rgb_arrays,
    rgba_arrays,
    srgb_encode,
    strange_press,
    xyz,
)


class TestOrientation:
    @pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
    @pytest.mark.parametrize("orientation", SEEN)
    def test_it_is_applied_and_not_written_again(self, tmp_path, suffix, orientation):
        values = {"a": 0, "b": 80, "c": 160, "d": 240}
        stored = np.kron(np.array([[0, 80], [160, 240]], np.uint8), np.ones((16, 24), np.uint8))
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(stored).convert("RGB").save(tmp_path / f"in.{suffix}", exif=exif, quality=100)
        photo = load_image(tmp_path / f"in.{suffix}")
        wide = orientation < 5
        assert (photo.height, photo.width) == ((32, 48) if wide else (48, 32))
        seen = photo.rgb[[8, -8]][:, [8, -8], 0].astype(int)
        wanted = [[values[name] for name in row] for row in SEEN[orientation].split("/")]
        assert np.abs(seen - wanted).max() <= 3
        save_image(photo, tmp_path / f"out.{suffix}")
        with Image.open(tmp_path / f"out.{suffix}") as written:
            assert written.getexif().get(0x0112, 1) == 1
        assert np.abs(load_image(tmp_path / f"out.{suffix}").rgb.astype(int) - photo.rgb).max() <= 6

    def test_a_pil_image_is_turned_and_stays_as_it_was(self):
        image = Image.fromarray(noise(4, 6))
        image.getexif()[0x0112] = 6
        assert np.array_equal(load_image(image).rgb, np.rot90(noise(4, 6), -1))
        assert image.size == (6, 4)
        assert image.getexif()[0x0112] == 6

    def test_a_damaged_exif_block_does_not_cost_the_photo(self, tmp_path):
        Image.fromarray(noise(8, 8)).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
        assert load_image(tmp_path / "a.jpg").rgb.shape == (8, 8, 3)


class TestProfiles:
    def test_a_display_p3_photo_is_converted_by_the_written_out_formula(self, tmp_path):
        stored = np.array([[[200, 100, 60], [128, 128, 128], [90, 140, 120], [255, 255, 255]]], np.uint8)
        Image.fromarray(stored).save(tmp_path / "p3.png", icc_profile=display_p3())
        wanted = srgb_encode((stored / 255) ** 2.2 @ P3.T @ np.linalg.inv(SRGB).T)
        assert np.abs(wanted - stored).max() > 10  # the profile matters
        assert np.abs(load_image(tmp_path / "p3.png").rgb - wanted).max() <= 1.5

    def test_alpha_passes_by_the_profile(self, tmp_path):
        stored = np.full((1, 2, 4), (200, 100, 60, 255), np.uint8)
        stored[0, 1, 3] = 77
        Image.fromarray(stored).save(tmp_path / "p3.png", icc_profile=display_p3())
        Image.fromarray(stored[..., :3].copy()).save(tmp_path / "opaque.png", icc_profile=display_p3())
        photo = load_image(tmp_path / "p3.png")
        assert photo.alpha.tolist() == [[255, 77]]
        assert np.array_equal(photo.rgb, load_image(tmp_path / "opaque.png").rgb)

    @pytest.mark.parametrize("suffix", ["tif", "jpg"])
    def test_cmyk_goes_through_its_profile(self, tmp_path, suffix):
        image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
        image.save(tmp_path / f"a.{suffix}", icc_profile=strange_press(), quality=100)
        assert np.abs(load_image(tmp_path / f"a.{suffix}").rgb - lab_to_srgb(*CYAN_INK)).max() <= 3

    def test_cmyk_without_a_profile_is_read_as_ink_on_white(self, tmp_path):
        Image.new("CMYK", (2, 2), (255, 0, 0, 0)).save(tmp_path / "a.tif")
        assert load_image(tmp_path / "a.tif").rgb[0, 0].tolist() == [0, 255, 255]

    def test_grey_goes_through_its_profile(self, tmp_path):
        profile = icc(b"GRAY", b"mntr", b"XYZ ", {b"wtpt": xyz(0.9642, 1.0, 0.8249), b"kTRC": gamma(1.0)})
        Image.new("L", (2, 2), 128).save(tmp_path / "a.png", icc_profile=profile)
        wanted = srgb_encode(np.array(128 / 255))  # 188
        assert np.abs(load_image(tmp_path / "a.png").rgb - wanted).max() <= 1.5

    @given(rgb_arrays)
    def test_an_srgb_profile_changes_no_pixel_at_all(self, stored):
        image = Image.fromarray(stored)
        image.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        assert np.array_equal(load_image(image).rgb, stored)

    @pytest.mark.parametrize(
        "profile",
        [
            b"not a profile",
            display_p3()[:16] + b"\x89GB " + display_p3()[20:],
            display_p3()[:200],
            display_p3()[:128] + b"\xff" * 300,
            strange_press(),
        ],
        ids=["text", "a space that is no text", "cut short", "garbage tags", "of another colour space"],
    )
    def test_a_profile_that_cannot_be_used_is_taken_as_srgb(self, profile):
        image = Image.fromarray(noise(5, 4))
        image.info["icc_profile"] = profile
        assert np.array_equal(load_image(image).rgb, noise(5, 4))


class TestModes:
    @pytest.mark.parametrize(
        "mode", ["L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB", "La"]
    )
    def test_every_8_bit_mode_shows_the_same_grey(self, mode):
        image = Image.new("RGB", (7, 5), (153, 153, 153))
        for step in {"La": ("LA", "La"), "RGBa": ("RGBA", "RGBa"), "PA": ("P", "PA")}.get(mode, (mode,)):
            image = image.convert(step)
        assert image.mode == mode
        photo = load_image(image)
        assert photo.rgb.shape == (5, 7, 3)
        assert photo.rgb.dtype == np.uint8
        assert np.abs(photo.rgb.astype(int) - 153).max() <= 2
        assert photo.alpha is None

    @pytest.mark.parametrize("mode", ["P", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"])
    def test_every_colour_mode_shows_the_same_colour(self, mode):
        photo = load_image(Image.new("RGB", (7, 5), (204, 102, 51)).convert(mode))  # in the web palette
        assert np.abs(photo.rgb.astype(int) - (204, 102, 51)).max() <= 4

    def test_one_bit_is_black_and_white(self):
        bits = np.eye(9, dtype=bool)
        assert np.array_equal(load_image(Image.fromarray(bits)).rgb[..., 1], bits * np.uint8(255))

    @pytest.mark.parametrize("kind", ["<u2", ">u2", "<i4"])
    def test_16_bit_grey_is_scaled_and_not_clipped(self, kind):
        wide = np.arange(0, 65536, 257, dtype=np.int64).reshape(16, 16)
        image = Image.fromarray(wide.astype(kind))
        assert image.mode in ("I;16", "I;16B", "I")
        assert np.array_equal(load_image(image).rgb, np.repeat((wide // 257)[..., None], 3, axis=2))

    def test_16_bit_grey_files_are_scaled(self, tmp_path):
        rows = [struct.pack(">4H", 0, 65535, 32896, 257)]
        (tmp_path / "a.png").write_bytes(png((4, 1), 16, 0, rows))
        (tmp_path / "a.pgm").write_bytes(b"P5 4 1 65535\n" + rows[0])
        for name in ("a.png", "a.pgm"):
            assert load_image(tmp_path / name).rgb[0, :, 0].tolist() == [0, 255, 128, 1]

    def test_integers_beyond_16_bits_are_stretched(self):
        image = Image.fromarray(np.array([[-1000, 0, 1000]], np.int32))
        assert load_image(image).rgb[0, :, 0].tolist() == [0, 128, 255]

    @pytest.mark.parametrize(
        ("values", "wanted"),
        [
            ([0, 0.5, 1], [0, 128, 255]),
            ([0, 100.4, 255], [0, 100, 255]),
            ([-1, 0, 1], [0, 128, 255]),
            ([7e9, 7e9, 7e9], [0, 0, 0]),
        ],
        ids=["up to 1", "up to 255", "below 0", "one large value"],
    )
    def test_floats_are_scaled_by_their_range(self, values, wanted):
        image = Image.fromarray(np.array([values], np.float32))
        assert image.mode == "F"
        assert load_image(image).rgb[0, :, 2].tolist() == wanted

    def test_floats_that_are_not_finite_are_refused(self, tmp_path):
        Image.fromarray(np.array([[0, np.nan]], np.float32)).save(tmp_path / "a.tif")
        with pytest.raises(InputError, match=r"a\.tif holds values that are not finite; replace NaN"):
            load_image(tmp_path / "a.tif")

    @pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
    def test_an_animation_gives_its_first_frame(self, tmp_path, suffix):
        frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
        frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **lossless(suffix))
        with Image.open(tmp_path / f"a.{suffix}") as image:
            assert image.n_frames == 3
        assert np.array_equal(load_image(tmp_path / f"a.{suffix}").rgb, np.full((8, 8, 3), (255, 0, 0)))

    @given(rgb_arrays)
    def test_arrays_and_pil_images_of_any_size_pass_unchanged(self, stored):
        for source in (stored, Image.fromarray(stored), stored[::-1][::-1]):
            photo = load_image(source)
            assert np.array_equal(photo.rgb, stored)
            assert photo.alpha is None
            assert (photo.height, photo.width) == stored.shape[:2]

    def test_a_grey_array_is_an_image_and_the_photo_owns_its_pixels(self):
        grey = noise(3, 4)[..., 0].copy()
        photo = load_image(grey)
        assert np.array_equal(photo.rgb, np.repeat(grey[..., None], 3, axis=2))
        colours = noise(3, 4)
        photo = load_image(colours)
        colours[:] = 0
        assert np.array_equal(photo.rgb, noise(3, 4))


class TestTransparency:
    @given(rgba_arrays)
    def test_hidden_colours_give_way_to_the_mean_of_what_is_visible_within_eight_pixels(self, stored):
        stored = stored[:8, :8]
        photo = load_image(stored)
        colours, alpha = stored[..., :3].astype(np.float64), stored[..., 3:].astype(np.float64)
        if not alpha.any() or (alpha == 255).all():
            assert np.array_equal(photo.rgb, stored[..., :3])
            return
        mean = np.floor((colours * alpha).sum(axis=(0, 1)) / alpha.sum() + 0.5)
        seen = np.minimum(alpha / 15, 1)
        wanted = colours * seen + mean * (1 - seen)
        assert np.abs(photo.rgb - wanted).max() <= 0.5 + 1e-9
        assert np.array_equal(photo.alpha, stored[..., 3])

    def test_pixels_that_show_stay_exactly_and_hidden_ones_cannot_be_told_apart(self):
        stored = noise(6, 6, 4)
        stored[..., 3] = np.triu(np.full((6, 6), 255))
        other = stored.copy()
        other[stored[..., 3] == 0, :3] = (255, 0, 255)
        first, second = load_image(stored), load_image(other)
        shown = stored[..., 3] == 255
        assert np.array_equal(first.rgb[shown], stored[shown][:, :3])
        assert np.array_equal(first.rgb, second.rgb)

    def test_an_opaque_alpha_is_none(self):
        assert load_image(Image.new("RGBA", (3, 3), (1, 2, 3, 255))).alpha is None

    def test_a_fully_transparent_image_is_still_an_image(self):
        photo = load_image(Image.new("RGBA", (3, 2), (10, 20, 30, 0)))
        assert not photo.alpha.any()
        assert np.array_equal(photo.rgb, np.full((2, 3, 3), (10, 20, 30)))

    def test_grey_with_alpha(self):
        stored = np.array([[[50, 255], [90, 0]]], np.uint8)
        grey, alpha = (Image.fromarray(stored[..., i].copy()) for i in range(2))
        photo = load_image(Image.merge("LA", (grey, alpha)))
        assert photo.alpha.tolist() == [[255, 0]]
        assert photo.rgb.tolist() == [[[50] * 3, [50] * 3]]

    def test_a_palette_with_transparency_for_each_entry(self, tmp_path):
        image = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
        image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
        image.save(tmp_path / "a.png", transparency=bytes([255, 255, 0]))
        photo = load_image(tmp_path / "a.png")
        assert photo.alpha.tolist() == [[255, 255, 0]]
        assert photo.rgb.tolist() == [[[255, 0, 0], [0, 255, 0], [128, 128, 0]]]

    def test_a_palette_with_one_transparent_entry(self, tmp_path):
        image = Image.fromarray(np.array([[0, 1], [1, 1]], np.uint8)).convert("P")
        image.putpalette([255, 0, 0, 0, 255, 0])
        image.save(tmp_path / "a.gif", transparency=0)
        photo = load_image(tmp_path / "a.gif")
        assert photo.alpha.tolist() == [[0, 255], [255, 255]]
        assert np.array_equal(photo.rgb, np.full((2, 2, 3), (0, 255, 0)))

    @pytest.mark.parametrize(
        ("kind", "row", "trns", "shown"),
        [
            ((1, 0), [0b01000000], b"\0\1", [0] * 3),
            ((8, 0), [9, 200], b"\0\xc8", [9] * 3),
            ((16, 0), [9, 9, 200, 1], b"\xc8\1", [9] * 3),
            ((8, 2), [1, 2, 3, 200, 0, 0], b"\0\xc8\0\0\0\0", [1, 2, 3]),
            ((16, 2), [1, 0, 2, 0, 3, 0, 200, 7, 0, 7, 0, 7], b"\xc8\7\0\7\0\7", [1, 2, 3]),
        ],
        ids=["1 bit", "8-bit grey", "16-bit grey", "8-bit colour", "16-bit colour"],
    )
    def test_a_colour_key_hides_its_colour(self, tmp_path, kind, row, trns, shown):
        (tmp_path / "a.png").write_bytes(png((2, 1), *kind, [row], trns))
        photo = load_image(tmp_path / "a.png")
        assert photo.alpha.tolist() == [[255, 0]]
        assert photo.rgb.tolist() == [[shown, shown]]

    def test_a_key_of_16_bits_hides_only_that_one_value(self, tmp_path):
        row = struct.pack(">2H", 51201, 51202)  # the same in 8 bits
        (tmp_path / "a.png").write_bytes(png((2, 1), 16, 0, [row], struct.pack(">H", 51202)))
        assert load_image(tmp_path / "a.png").alpha.tolist() == [[255, 0]]


class TestBadInput:
    def test_a_missing_file(self, tmp_path):
        with pytest.raises(InputError) as error:
            load_image(tmp_path / "no.jpg")
        assert one_line(error) == f"{tmp_path / 'no.jpg'} doesn't exist; check the path"
        assert error.value.exit_code == 2

    def test_a_folder(self, tmp_path):
        with pytest.raises(InputError) as error:
            load_image(tmp_path)
        assert one_line(error) == f"{tmp_path} is a folder; give an image file in it"

    def test_an_address(self):
        with pytest.raises(InputError) as error:
            load_image("https://example.org/a.jpg")
        assert one_line(error).startswith("https://example.org/a.jpg is an address; download the image")

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
    def test_a_pipe_does_not_hang(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.jpg")
        with pytest.raises(InputError, match=r"pipe\.jpg is a pipe or a device; save the image to a file"):
            load_image(tmp_path / "pipe.jpg")

    @pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no POSIX permissions on this system")
    def test_a_file_that_may_not_be_read(self, tmp_path):
        path = tmp_path / "secret.jpg"
        Image.new("RGB", (2, 2)).save(path)
        path.chmod(0)
        root = os.geteuid() == 0
        try:
            if root:  # may read everything, so be nobody for a moment
                os.seteuid(65534)
            with pytest.raises(InputError, match=r"secret\.jpg can't be read: permission denied; allow reading"):
                load_image(path)
        finally:
            if root:
                os.seteuid(0)

    @pytest.mark.parametrize(
        ("content", "found"),
        [
            (b"", "is empty (0 bytes); copy or download it again"),
            (b"Hello,\nthis is a note.\n", "is a text file, not an image; give a JPEG, PNG"),
            (
                b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n",
                "is PostScript, which can't be read here",
            ),
            (b"<!DOCTYPE html><title>404</title>", "is a text file, not an image; give a JPEG, PNG"),
            (
                b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
                "is a HEIC photo, which can't be read here; convert it to JPEG",
            ),
            (
                bytes(range(256)),
                "isn't an image that can be read here, or its header is damaged; give a JPEG",
            ),
            (b"\xff\xd8\xff\xe0\0\x10JF", "is damaged or cut short (Truncated File Read); copy or download"),
        ],
        ids=["empty", "text", "postscript", "html", "heic", "binary", "header cut short"],
    )
    def test_a_file_that_is_no_image(self, tmp_path, content, found):
        (tmp_path / "a.jpg").write_bytes(content)
        with pytest.raises(InputError) as error:
            load_image(tmp_path / "a.jpg")
        assert one_line(error).startswith(f"{tmp_path / 'a.jpg'} {found}")

    @pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "bmp", "gif"])
    @pytest.mark.parametrize("kept", [0.3, 0.7])
    def test_a_file_cut_short(self, tmp_path, suffix, kept):
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(noise(64, 64)).save(
            path,
        )
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
        with pytest.raises(InputError) as error:
            load_image(path)
        text = one_line(error)
        assert text.startswith(str(path))
        assert "damaged" in text

    @given(st.data())
    def test_a_file_with_any_damage_is_read_or_refused_and_nothing_else(self, data):
        suffix = data.draw(st.sampled_from(["jpg", "png", "webp", "tiff", "bmp", "gif"]))
        encoded = io.BytesIO()
        Image.fromarray(noise(12, 12, seed=1)).save(encoded, "jpeg" if suffix == "jpg" else suffix)
        content = bytearray(encoded.getvalue())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, min(len(content) - 1, 400)))] = data.draw(st.integers(0, 255))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"a.{suffix}"
            path.write_bytes(content)
            try:
                photo = load_image(path, max_pixels=1_000_000)
            except InputError as error:
                refused = str(error)
            else:
                refused = ""
        assert str(path) in refused if refused else photo.rgb.dtype == np.uint8

    @pytest.mark.parametrize(
        ("array", "found"),
        [
            (np.zeros((2, 3, 3)), r"\[2, 3, 3\] float64; give .*\(array \* 255\)\.round\(\)"),
            (np.zeros((2, 3, 3), np.float32), r"float32; give .*\(array \* 255\)\.round\(\)"),
            (np.zeros((2, 3, 3), np.uint16), r"uint16; give .*array // 257"),
            (np.zeros((2, 3), bool), r"bool; give .*\* 255"),
            (np.zeros((2, 3, 3), np.int64), r"int64; give .*converted by you"),
            (np.zeros((3, 20, 30), np.uint8), r"\[3, 20, 30\] uint8; give .*array\.transpose\(1, 2, 0\)"),
            (np.zeros((1, 20, 30, 3), np.uint8), r"\[1, 20, 30, 3\] uint8; give one image, .*array\[0\]"),
            (np.zeros((2, 3, 2), np.uint8), r"\[2, 3, 2\] uint8; give \[height, width, 3\] uint8$"),
            (np.zeros(5, np.uint8), r"\[5\] uint8; give \[height, width, 3\] uint8$"),
            (np.zeros((0, 5, 3), np.uint8), r"\[0, 5, 3\] uint8, which has no pixels; give"),
        ],
    )
    def test_an_array_of_another_shape_or_dtype(self, array, found):
        with pytest.raises(InputError, match=rf"the array given is .*{found}"):
            load_image(array)

    def test_a_pil_image_without_pixels(self):
        with pytest.raises(InputError, match=r"the image given has no pixels \(0x5\); give an image"):
            load_image(Image.new("RGB", (0, 5)))

    def test_something_else_is_named_by_its_type(self):
        with pytest.raises(InputError, match=r"can't be read from a builtins\.list; give a path, a PIL image"):
            load_image([[0, 1]])

    def test_a_path_with_a_nul(self):
        with pytest.raises(InputError, match=r"can't be read: .*null byte.*; check the path"):
            load_image("a\0.jpg")

    def test_a_photo_refuses_arrays_that_do_not_belong_together(self):
        with pytest.raises(InputError, match=r"rgb is \[2, 2\] uint8; give \[height, width, 3\] uint8"):
            Photo(np.zeros((2, 2), np.uint8))
        with pytest.raises(InputError, match=r"alpha is \[2, 3\] uint8; give \[2, 2\] uint8, as large as rgb"):
            Photo(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3), np.uint8))


class TestLimit:
    @pytest.mark.parametrize("side", [12_000, 60_000])  # Pillow alone warns at the first and refuses the second
    def test_a_bomb_is_refused_by_its_header(self, tmp_path, side):
        (tmp_path / "bomb.png").write_bytes(png((side, side), 8, 2, []))  # no pixels follow
        with pytest.raises(InputError) as error:
            load_image(tmp_path / "bomb.png")
        assert one_line(error) == (
            f"{tmp_path / 'bomb.png'} is {side}x{side} ({side * side:,} pixels), "
            "over the limit of 100,000,000; make it smaller, or raise --max-pixels (max_pixels in Python)"
        )

    def test_a_limit_is_met_exactly(self, tmp_path):
        Image.new("RGB", (10, 10)).save(tmp_path / "a.png")
        assert load_image(tmp_path / "a.png", max_pixels=100).width == 10
        for source in (tmp_path / "a.png", Image.new("RGB", (10, 10)), noise(10, 10)):
            with pytest.raises(InputError, match=r"10x10 \(100 pixels\), over the limit of 99"):
                load_image(source, max_pixels=99)

    @pytest.mark.parametrize("own", [10, 60, None])  # refuses, warns, says nothing
    @pytest.mark.parametrize("limit", [100, 100_000_000, None])
    def test_pillow_s_own_limit_neither_blocks_nor_changes(self, tmp_path, monkeypatch, own, limit):
        Image.new("RGB", (10, 10)).save(tmp_path / "a.png")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", own)
        filters = list(warnings.filters)
        assert load_image(tmp_path / "a.png", max_pixels=limit).width == 10
        with pytest.raises(InputError):
            load_image(tmp_path / "a.png", max_pixels=9)
        assert own == Image.MAX_IMAGE_PIXELS
        assert warnings.filters == filters

    def test_many_threads_leave_it_as_it_was(self, tmp_path, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 12345)
        for i in range(8):
            Image.fromarray(noise(40, 40, seed=i)).save(tmp_path / f"{i}.png")
        with ThreadPoolExecutor(8) as pool:
            loaded = list(pool.map(lambda i: load_image(tmp_path / f"{i % 8}.png"), range(64)))
        assert all(np.array_equal(photo.rgb, noise(40, 40, seed=i % 8)) for i, photo in enumerate(loaded))
        assert Image.MAX_IMAGE_PIXELS == 12345

    def test_a_small_icon_that_carries_a_huge_image(self, tmp_path):
        inner = png((20_000, 20_000), 8, 2, [])
        entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22)
        (tmp_path / "a.ico").write_bytes(struct.pack("<HHH", 0, 1, 1) + entry + inner)
        with pytest.raises(
            InputError, match=r"a\.ico carries an image over the limit of 100,000,000 pixels inside; .*--max"
        ):
            load_image(tmp_path / "a.ico")

    def test_warnings_of_pillow_do_not_reach_the_caller(self, tmp_path):
        path = tmp_path / "a.tif"
        Image.new("L", (4, 4)).save(path)
        content = path.read_bytes()
        first = struct.unpack("<I", content[4:8])[0]
        count = struct.unpack("<H", content[first : first + 2])[0]
        entry = first + 2 + 12 * (count - 1)  # the last tag: its value now lies beyond the end of the file
        path.write_bytes(content[:entry] + struct.pack("<HHII", 700, 1, 5000, 10**6) + content[entry + 12 :])
        with pytest.warns(UserWarning, match="Tag data larger than file|Truncated File Read"):
            Image.open(path).close()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert load_image(path).rgb.shape == (4, 4, 3)
