"""Styles kept on disk: found again, bounded, and never a reason to fail."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from adain_runtime import style_cache
from adain_runtime.cache import cache_folder
from adain_runtime.style import Style
from adain_runtime.style_cache import StyleCache
from adain_runtime.stylizer import Stylizer

ID = "0123456789abcdef"


@pytest.fixture
def image(tmp_path) -> Path:
    path = tmp_path / "wave.png"
    path.write_bytes(b"any bytes at all")
    return path


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def cache(tmp_path, told) -> StyleCache:
    return StyleCache(tmp_path / "cache", told.append)


def make(seed=0) -> Style:
    values = np.random.default_rng(seed).random((2, 6), np.float32)
    return Style(values[0], values[1], ID, "wave.png")


def entries(tmp_path) -> list[Path]:
    return sorted((tmp_path / "cache").iterdir())


def test_what_was_kept_is_found_bit_for_bit_under_the_name_asked_for(cache, image, tmp_path):
    key = cache.key(image, ID)
    assert cache.load(key, ID, "wave.png") is None
    cache.keep(key, make())
    found = cache.load(key, ID, "other.png")
    assert found == make()
    assert found.source == "other.png"
    assert [path.suffix for path in entries(tmp_path)] == [".stats"]


def test_another_image_or_fact_is_another_style(cache, image, tmp_path):
    other = tmp_path / "other.png"
    other.write_bytes(b"other bytes")
    keys = [cache.key(image, ID), cache.key(other, ID), cache.key(image, ID, 512), cache.key(image, "f" * 16)]
    assert len(set(keys)) == 4
    assert cache.key(image, ID) == keys[0]


def test_an_image_that_is_not_there_has_no_key_and_says_nothing(cache, tmp_path, told):
    assert cache.key(tmp_path / "missing.png") is None
    cache.keep(None, make())
    assert cache.load(None, ID, "") is None
    assert told == []


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "swap"])
def test_a_damaged_entry_is_missing_and_made_again(cache, image, tmp_path, flip_bit, damage):
    key = cache.key(image, ID)
    cache.keep(key, make())
    (entry,) = entries(tmp_path)
    if damage == "flip":
        flip_bit(entry)
    elif damage == "swap":  # a whole entry, of another style
        other = cache.key(image, "other")
        cache.keep(other, make(1))
        (entry.parent / f"{other}.stats").replace(entry)
    else:
        entry.write_bytes(entry.read_bytes()[: 40 if damage == "cut" else 0])
    assert cache.load(key, ID, "") is None
    cache.keep(key, make())
    assert cache.load(key, ID, "") == make()


@pytest.mark.parametrize("place", ["a file", "below a file"])
def test_a_folder_that_can_not_be_used_is_said_once_and_all_goes_on(tmp_path, image, told, place):
    blocked = tmp_path / "blocked"
    blocked.write_bytes(b"")
    cache = StyleCache(blocked if place == "a file" else blocked / "cache", told.append)
    for _ in range(3):
        key = cache.key(image, ID)
        assert cache.load(key, ID, "") is None
        cache.keep(key, make())
    assert len(told) == 1
    assert "styles can't be kept in" in told[0]
    assert "ADAIN_CACHE" in told[0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a system with named pipes")
def test_what_is_no_file_has_no_key_and_is_not_waited_for(cache, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert [cache.key(Path(name)) for name in (tmp_path / "pipe.png", "/dev/zero", "a\0.png", tmp_path)] == [None] * 4


def test_a_folder_that_can_only_be_read_serves(cache, image, told, monkeypatch):
    """As one that another user filled, or that a container's image carries."""
    key = cache.key(image)
    style = Style(np.ones(3, np.float32), np.ones(3, np.float32), ID)
    cache.keep(key, style)

    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "utime", refused)
    assert cache.load(key, ID, "") == style
    assert told == []


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="needs a folder that its user can't write")
def test_a_folder_without_permission_is_said_once(tmp_path, image, told):
    (tmp_path / "locked").mkdir(mode=0o500)
    cache = StyleCache(tmp_path / "locked", told.append)
    cache.keep(cache.key(image, ID), make())
    assert len(told) == 1


def test_the_folder_stays_bounded_and_what_was_used_last_stays(cache, image, tmp_path, monkeypatch):
    monkeypatch.setattr(style_cache, "MOST", 4)
    keys = [cache.key(image, number) for number in range(7)]
    for age, key in enumerate(keys):
        cache.keep(key, make(age))
        entry = tmp_path / "cache" / f"{key}.stats"
        os.utime(entry, (1000 + age, 1000 + age))
        cache.load(keys[0], ID, "")  # keeps the first one young
    assert len(entries(tmp_path)) <= 4
    assert cache.load(keys[0], ID, "") is not None
    assert cache.load(keys[1], ID, "") is None
    assert cache.load(keys[-1], ID, "") is not None


def test_two_that_fill_it_at_once_leave_whole_entries(image, tmp_path, told, monkeypatch):
    monkeypatch.setattr(style_cache, "MOST", 8)
    caches = [StyleCache(tmp_path / "cache", told.append) for _ in range(2)]
    keys = [caches[0].key(image, number) for number in range(30)]

    def fill(cache):
        for number, key in enumerate(keys):
            cache.keep(key, make(number))
            assert cache.load(key, ID, "") in (None, make(number))

    threads = [threading.Thread(target=fill, args=(cache,)) for cache in caches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == []
    assert 0 < len(entries(tmp_path)) <= 8
    for number, key in enumerate(keys):
        assert caches[0].load(key, ID, "") in (None, make(number))
    assert caches[0].load(keys[-1], ID, "") == make(29)


def test_the_folder_is_the_platforms_or_the_one_asked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("ADAIN_CACHE", "")
    home = {"linux": ".cache", "darwin": "Library/Caches"}
    if sys.platform in home:
        assert cache_folder("styles") == tmp_path / home[sys.platform] / "adain-edge" / "styles"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder("styles") == tmp_path / "xdg" / "adain-edge" / "styles"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert "relative" not in str(cache_folder("styles"))
    monkeypatch.setenv("ADAIN_CACHE", str(tmp_path / "mine"))
    assert cache_folder("styles") == tmp_path / "mine" / "styles"
    for off in ("off", "OFF", "0", "no"):
        monkeypatch.setenv("ADAIN_CACHE", off)
        assert cache_folder("styles") is None


class TestInAStylizer:
    @pytest.fixture
    def opened(self, monkeypatch, tmp_path):
        monkeypatch.setenv("ADAIN_CACHE", str(tmp_path / "cache"))
        with Stylizer.open("lite", threads=1) as stylizer:
            yield stylizer

    def test_a_painting_is_encoded_once(self, opened, picture, write_image, tmp_path, monkeypatch):
        path = write_image(tmp_path / "wave.png", picture(40, 48))
        first = opened.style(path)
        monkeypatch.setattr(opened.session, "run", None)  # from here on, encoding is an error
        assert opened.style(path) == first
        assert opened.style(str(path)).source == "wave.png"
        with pytest.raises(TypeError):
            opened.style(path, size=30)

    def test_arrays_and_what_is_recoloured_are_not_kept(self, opened, picture, write_image, tmp_path):
        opened.style(picture(40, 48))
        opened.prepare(write_image(tmp_path / "wave.png", picture(40, 48)), preserve_color="match")
        assert not (tmp_path / "cache").exists()

    def test_numbers_of_a_device_that_came_up_in_anothers_place_are_not_kept(
        self, opened, picture, write_image, tmp_path, monkeypatch
    ):
        run = opened.session.run

        def fallen_back(part, feeds):
            opened.session._device = "CPUExecutionProvider"
            return run(part, feeds)

        opened.session._device = "CUDAExecutionProvider"
        monkeypatch.setattr(opened.session, "run", fallen_back)
        path = write_image(tmp_path / "wave.png", picture(40, 48))
        opened.style(path)
        assert not (tmp_path / "cache").exists()
        opened.style(path)  # by now it is known
        assert len(list((tmp_path / "cache" / "styles").iterdir())) == 1

    def test_nothing_is_kept_where_it_is_turned_off(self, picture, write_image, tmp_path, monkeypatch):
        path = write_image(tmp_path / "wave.png", picture(40, 48))
        monkeypatch.setenv("ADAIN_CACHE", str(tmp_path / "cache"))
        with Stylizer.open("lite", threads=1, cache=False) as stylizer:
            stylizer.style(path)
        monkeypatch.setenv("ADAIN_CACHE", "off")
        with Stylizer.open("lite", threads=1) as stylizer:
            stylizer.style(path)
        assert not (tmp_path / "cache").exists()

    def test_a_program_that_calls_is_warned(self, picture, write_image, tmp_path, monkeypatch):
        path = write_image(tmp_path / "wave.png", picture(40, 48))
        monkeypatch.setenv("ADAIN_CACHE", str(path))
        with Stylizer.open("lite", threads=1) as stylizer:
            with pytest.warns(RuntimeWarning, match="styles can't be kept in"):
                style = stylizer.style(path)
            assert stylizer.style(path) == style


def test_the_command_says_an_unwritable_cache_once_and_works(adain_run, picture, write_image, tmp_path, monkeypatch):
    write_image(tmp_path / "photo.png", picture(30, 40))
    for name in ("a.png", "b.png"):
        write_image(tmp_path / name, picture(40, 48, seed=ord(name[0])))
    monkeypatch.setenv("ADAIN_CACHE", str(tmp_path / "photo.png"))
    ran = adain_run("photo.png", "a.png", "b.png")
    assert ran.code == 0
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("adain-run: styles can't be kept in")
    assert adain_run("photo.png", "a.png", "b.png", "--no-cache").err == ""
