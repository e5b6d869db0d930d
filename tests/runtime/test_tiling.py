"""When a picture is cut into tiles, and what is refused before any work."""

from __future__ import annotations

import json
import weakref
from dataclasses import replace
from math import isqrt

import numpy as np
import pytest
from PIL import Image

from adain_runtime import memory, stylizer, tiling
from adain_runtime.backend import release
from adain_runtime.errors import InputError
from adain_runtime.image import Photo
from adain_runtime.manifest import Sizes
from adain_runtime.stylizer import Stylizer
from adain_runtime.tiled import TiledPicture
from adain_runtime.tiling import check_decoder, check_tiling, choose_side, parse_tiling, pictures_at_once

GIB = 1 << 30


@pytest.fixture
def manifest(null_stylizer):
    return null_stylizer.session.bundle.manifest


@pytest.fixture
def free(monkeypatch):
    """Says how much memory there is."""

    def set_free(count):
        for module in (tiling, stylizer):
            monkeypatch.setattr(module, "available_memory", lambda: count)

    set_free(16 * GIB)
    return set_free


def test_small_pictures_run_whole_and_large_ones_in_tiles_of_1024(manifest, free):
    assert choose_side(manifest, 1024, 1024, "auto") is None
    assert choose_side(manifest, 8192, 8192, "auto") == 1024


def test_less_memory_makes_smaller_tiles_down_to_the_smallest(manifest, free):
    free(GIB // 4)
    assert 256 <= choose_side(manifest, 2048, 2048, "auto") <= 704
    free(1)
    assert choose_side(manifest, 2048, 2048, "auto") == 72
    free(None)
    assert choose_side(manifest, 8192, 8192, "auto") == 1024


def test_what_the_graphs_hold_of_the_picture_before_is_free_for_the_next(null_stylizer, monkeypatch):
    """An arena that is kept between runs counts as taken, and the picture that comes would be in tiles or refused."""
    held = [GIB]

    def available():
        return 2 * GIB - held[0]

    def give_back(*_):
        held[0] = 0

    for module in (tiling, stylizer):
        monkeypatch.setattr(module, "available_memory", available)
    monkeypatch.setattr(stylizer, "release", give_back)
    null_stylizer._free_at_first = 2 * GIB
    manifest = null_stylizer.session.bundle.manifest
    per_pixel = tiling.bytes_per_pixel(manifest.spec)
    side = isqrt(3 * GIB // 2 // per_pixel)  # takes more than what is left beside the arena, and less than all
    with pytest.raises(InputError, match="are free"):
        choose_side(manifest, side, side, "off")
    assert null_stylizer._side((side, side), "off", 1) is None
    assert held == [0]
    held[0] = GIB
    side = isqrt(3 * GIB // 4 // per_pixel)
    assert choose_side(manifest, side, side, "auto") is not None
    assert null_stylizer._side((side, side), "auto", 1) is None
    held[0] = GIB
    large = isqrt(8 * GIB // per_pixel)  # in such tiles whatever is given back, so nothing is
    assert null_stylizer._side((large, large), "auto", 1) == 1024
    assert held == [GIB]
    held[0] = 2 * GIB
    null_stylizer.check_whole(side, side)  # in the thread that loads: nothing is released beside a run


def test_a_number_is_the_tiles_side_for_what_is_larger(manifest, free):
    assert choose_side(manifest, 600, 100, 512) == 512
    assert choose_side(manifest, 512, 509, 512) is None


def test_the_largest_size_of_a_bundle_makes_tiles(manifest, free):
    fixed = replace(manifest, sizes=Sizes(multiple=8, minimum=16, maximum=256))
    assert choose_side(fixed, 256, 250, "auto") is None
    assert choose_side(fixed, 300, 256, "auto") == 256
    with pytest.raises(InputError, match="tile 264: over 256, the largest that lite-onnx-fp32 takes"):
        check_tiling(fixed, 264)
    tiny = replace(fixed, sizes=Sizes(multiple=8, minimum=16, maximum=64))
    with pytest.raises(InputError, match=r"takes pictures of 64 pixels a side, .*: make that smaller \(--size\)"):
        choose_side(tiny, 64, 96, "auto")


def test_without_a_decoder_there_are_no_tiles_but_for_the_encoder(manifest, free):
    whole = {name: part for name, part in manifest.parts.items() if name != "decoder"}
    alone = replace(manifest, parts=whole, sizes=Sizes(multiple=8, minimum=16, maximum=256))
    assert choose_side(alone, 800, 600, "auto") is None  # padded_size says what fits
    assert choose_side(alone, 800, 600, "auto", decode=False) == 256
    free(GIB // 100)
    with pytest.raises(
        InputError, match=r"an? 800x600 picture .* free; export it with --parts encoder,stylizer,decoder"
    ):
        choose_side(replace(manifest, parts=whole), 600, 800, "auto")
    with pytest.raises(InputError, match=r"tile 128: lite-onnx-fp32 has no decoder.*--parts encoder,stylizer,decoder"):
        check_tiling(alone, 128)
    with pytest.raises(InputError, match="masks: lite-onnx-fp32 has no decoder"):
        check_decoder(alone, "masks")


def test_a_number_beyond_all_reason_is_one_line(manifest):
    with pytest.raises(InputError, match="give auto, off, or the pixels"):
        parse_tiling("9" * 5000)


def test_off_is_refused_with_an_estimate_where_memory_is_short(manifest, free, null_stylizer):
    free(GIB)
    assert choose_side(manifest, 1000, 1000, "off") is None
    refusal = r"a 4000x3000 picture as a whole takes about 3\.8 GB with lite-onnx-fp32, and 1\.1 GB are free; leave out"
    with pytest.raises(InputError, match=refusal):
        choose_side(manifest, 3000, 4000, "off")
    with pytest.raises(InputError, match=r"as a whole 9 at once takes about"):
        choose_side(manifest, 1000, 1000, "off", together=9)
    with pytest.raises(InputError, match="leave out --tile off"):
        null_stylizer(np.zeros((3000, 4000, 3), np.uint8), np.zeros((16, 16, 3), np.uint8), tile="off")


def test_off_is_refused_before_a_files_pixels_are_decoded(
    free, null_stylizer, tmp_path, picture, write_image, adain_run
):
    small, large = tmp_path / "in" / "a.png", tmp_path / "in" / "b.png"
    write_image(small, picture(40, 56, seed=1))
    Image.new("RGB", (4000, 3000)).save(large)
    whole = large.read_bytes()
    large.write_bytes(whole[: len(whole) // 2])  # decoding it would say that it is damaged
    free(GIB)
    null_stylizer._free_at_first = GIB
    with pytest.raises(InputError, match=r"a 4000x3000 picture as a whole takes about 3\.8 GB .* leave out"):
        null_stylizer(large, small, tile="off")
    ran = adain_run(large.parent, small, "--tile", "off", "--backend", "null", "-o", "out", "--json")
    assert ran.code == 2
    (failed,) = json.loads(ran.out)["failed"]
    assert "a 4000x3000 picture as a whole takes about" in failed["error"]
    ran = adain_run(large, small, "--tile", "off", "--backend", "null", "-o", "out.png", "--size", 64)
    assert "damaged" in ran.err


def test_a_batch_is_as_large_as_memory_allows(manifest, free, null_stylizer):
    assert pictures_at_once(manifest, 512, 512) == 12
    free(GIB // 2)
    assert pictures_at_once(manifest, 512, 512) == 3
    assert pictures_at_once(manifest, 5120, 5120) == 1
    batches = []

    class Counting:
        bundle, device = null_stylizer.session.bundle, "shapes only"

        def run(self, part, feeds):
            batches.append((part, len(next(iter(feeds.values())))))
            return null_stylizer.session.run(part, feeds)

    style = null_stylizer.style(np.zeros((16, 16, 3), np.uint8))
    Stylizer(Counting()).stylize([Photo(np.zeros((512, 512, 3), np.uint8))] * 5, [style], batch_size=4)
    assert batches == [("stylizer", 3), ("stylizer", 2)]


@pytest.mark.parametrize("tile", [71, 8, 0, -3])
def test_a_tile_smaller_than_the_halo_is_refused_with_the_smallest(manifest, null_stylizer, tile):
    refusal = f"tile {tile}: too small for lite-onnx-fp32, which sees 32 pixels beyond a tile's edges; give 72 or more"
    with pytest.raises(InputError, match=refusal):
        check_tiling(manifest, tile)
    with pytest.raises(InputError, match=refusal):
        TiledPicture(null_stylizer.session, np.zeros((300, 300, 3), np.uint8), tile)
    check_tiling(manifest, 72)


@pytest.mark.parametrize("tile", ["big", 3.5, True, None])
def test_what_is_no_tiling_is_refused(null_stylizer, tile):
    with pytest.raises(InputError, match="give auto, off, or the pixels of a tile's side"):
        null_stylizer(np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20, 3), np.uint8), tile=tile)


def test_a_tiling_is_read_from_a_command_line():
    assert [parse_tiling(text) for text in ("auto", "off", "512")] == ["auto", "off", 512]
    for text in ("-1", "1.5", "", "big", "²"):
        with pytest.raises(InputError, match="give auto, off, or the pixels"):
            parse_tiling(text)


def test_every_tile_is_told(null_stylizer):
    told = []
    photo, style = np.zeros((300, 200, 3), np.uint8), null_stylizer.style(np.zeros((16, 16, 3), np.uint8))
    null_stylizer(photo, style, tile=128, progress=lambda done, total: told.append((done, total)))
    total = told[-1][1]
    assert total > 10
    assert told == [(done, total) for done in range(1, total + 1)]


def test_tiles_are_written_where_they_belong_whatever_the_backend(stylizer, picture):
    photo, style = picture(211, 333, seed=1), stylizer.style(picture(40, 48, seed=2))
    whole, tiled = (np.asarray(stylizer(photo, style, tile=tile), int) for tile in ("off", 120))
    assert np.abs(whole - tiled).max() <= 1


def test_a_large_style_is_encoded_in_tiles_too(stylizer, picture, free):
    image = picture(400, 500, seed=4)
    whole = stylizer.style(image, size=None)
    free(1 << 26)
    tiled = stylizer.style(image, size=None)
    assert whole != tiled
    np.testing.assert_allclose(tiled.mean, whole.mean, atol=1e-4)
    np.testing.assert_allclose(tiled.std, whole.std, rtol=1e-4)


def test_the_estimate_is_five_of_the_largest_maps(manifest):
    assert memory.bytes_per_pixel(manifest.spec) == 320


def test_memory_is_what_the_tightest_group_leaves(tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 4096 kB\n")
    (tmp_path / "own").write_text("0::/outer/inner\n")
    for name, limit, used, cache in (("outer", "3000000", 1500000, 500000), ("outer/inner", "max", 1, 0)):
        group = tmp_path / "groups" / name
        group.mkdir(parents=True)
        (group / "memory.max").write_text(limit + "\n")
        (group / "memory.current").write_text(f"{used}\n")
        (group / "memory.stat").write_text(f"anon 5\ninactive_file {cache}\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_OWN_CGROUP", tmp_path / "own")
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path / "groups")
    assert memory.available_memory() == 2_000_000
    (tmp_path / "groups" / "outer" / "memory.max").write_text("max\n")
    assert memory.available_memory() == 4096 * 1024


def test_memory_is_known_here():
    assert memory.available_memory() > 1 << 20
    assert memory.spell_bytes(1_500_000_000) == "1.5 GB"
    assert memory.spell_bytes(3_000_000) == "3 MB"


class Watching:
    """A session that notes what was given back, and which features are still held when decoding begins."""

    def __init__(self, session):
        self.session, self.bundle, self.device = session, session.bundle, session.device
        self.made, self.events, self.alive = [], [], None

    def run(self, part, feeds):
        outputs = self.session.run(part, feeds)
        if part == "encoder":
            self.made.append(weakref.ref(outputs["features"]))
        elif self.alive is None:
            self.alive = sum(made() is not None for made in self.made)
        return outputs

    def release(self, part):
        self.events.append(part)


def test_the_encoders_memory_is_given_back_before_decoding_begins(null_stylizer, noise):
    watching, style = Watching(null_stylizer.session), null_stylizer.style(noise(16, 16))
    Stylizer(watching)(noise(300, 200), style, tile=128)
    assert len(watching.made) > 4
    assert watching.alive == 0
    assert watching.events == ["encoder", "encoder", "decoder"]


def test_a_picture_of_one_tile_gives_nothing_back_for_the_next_will_want_it(null_stylizer, noise):
    watching, style = Watching(null_stylizer.session), null_stylizer.style(noise(16, 16))
    Stylizer(watching)(noise(60, 60), style, masks=[np.ones((60, 60), np.float32)])
    assert watching.events == []


def test_a_graph_that_was_given_back_is_loaded_again(stylizer, picture):
    style, photo = stylizer.style(picture(40, 48, seed=2)), picture(64, 64)
    before = stylizer(photo, style)
    release(stylizer.session, "stylizer")
    assert np.array_equal(stylizer(photo, style), before)
