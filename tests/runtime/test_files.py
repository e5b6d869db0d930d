"""Files and folders are replaced whole or not at all, whatever goes wrong half-way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adain_runtime.errors import InputError
from adain_runtime.files import identity, replacing_file, replacing_folder, sha256_file


def test_sha256_is_that_of_the_bytes(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-4's own example
    assert sha256_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("old", [None, b"old"])
def test_a_file_takes_its_place_when_the_block_ends(tmp_path, old):
    path = tmp_path / "file"
    if old:
        path.write_bytes(old)
    with replacing_file(path) as part:
        part.write_bytes(b"new")
        assert (path.read_bytes() if path.exists() else None) == old
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, InputError])
def test_a_block_that_fails_keeps_the_old_file_and_leaves_nothing(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail_half_way():
        with replacing_file(path) as part:
            part.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        fail_half_way()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(InputError, match="can't write"), replacing_file(tmp_path / "file"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_name_as_long_as_the_file_system_takes_can_be_written(tmp_path):
    for name in ("x" * 255, "é" * 127):
        with replacing_file(tmp_path / name) as part:
            part.write_bytes(b"new")
        assert (tmp_path / name).read_bytes() == b"new"


@pytest.mark.parametrize("place", ["none/file", "plain/file", "folder", "x" * 300])
def test_a_place_that_can_not_be_written_is_named_with_the_reason(tmp_path, place):
    (tmp_path / "plain").write_bytes(b"plain")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError) as caught, replacing_file(tmp_path / place) as part:
        part.write_bytes(b"new")
    assert str(caught.value).startswith(f"can't write {tmp_path / place}: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "plain"]
    assert (tmp_path / "plain").read_bytes() == b"plain"


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    with replacing_file(tmp_path / "link") as part:
        part.write_bytes(b"new")
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert (tmp_path / "link").read_bytes() == b"new"


@pytest.mark.skipif(os.name != "posix", reason="permissions and pipes are POSIX")
def test_a_file_keeps_its_permissions_and_a_pipe_is_no_file(tmp_path):
    (tmp_path / "private").write_bytes(b"old")
    (tmp_path / "private").chmod(0o600)
    with replacing_file(tmp_path / "private") as part:
        part.write_bytes(b"new")
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o600
    (tmp_path / "private").chmod(0o400)
    with replacing_file(tmp_path / "private") as part:
        part.write_bytes(b"newer")
    assert (tmp_path / "private").read_bytes() == b"newer"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe: it is a pipe or a device"), replacing_file(tmp_path / "pipe") as part:
        part.write_bytes(b"new")
    assert (tmp_path / "pipe").is_fifo()


DISK_FULL = """
import resource, sys
from pathlib import Path
from adain_runtime.errors import InputError
from adain_runtime.files import replacing_file, replacing_folder
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
path = Path(sys.argv[1])
try:
    if path.is_dir():
        with replacing_folder(path) as part:
            (part / "first").write_bytes(b"x" * 500)
            (part / "second").write_bytes(b"x" * 5000)
    else:
        with replacing_file(path) as part:
            part.write_bytes(b"x" * 5000)
except InputError as error:
    print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="a full disk is played by RLIMIT_FSIZE, which is POSIX")
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_disk_that_fills_up_half_way_keeps_the_old(tmp_path, python, contents_of, kind):
    path = tmp_path / "old"
    if kind == "folder":
        path.mkdir()
    (path / "inside" if kind == "folder" else path).write_bytes(b"old")
    before = contents_of(tmp_path)
    ran = python(DISK_FULL, path)
    assert ran.code == 0, ran.err
    assert ran.out.startswith(f"can't write {path}: File too large")
    assert contents_of(tmp_path) == before


def fill(folder: Path, text: str) -> None:
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "file").write_text(text)


@pytest.mark.parametrize("old", [False, True])
def test_a_folder_takes_its_place_when_the_block_ends(tmp_path, old, contents_of):
    path = tmp_path / "made" / "folder"
    if old:
        fill(path, "old")
        (path / "only in the old").write_text("old")
    with replacing_folder(path) as part:
        fill(part, "new")
    assert contents_of(path) == {"sub": None, "sub/file": b"new"}
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_block_that_fails_keeps_the_old_folder_and_leaves_nothing(tmp_path, error, contents_of):
    fill(tmp_path / "folder", "old")
    before = contents_of(tmp_path)

    def fail_half_way():
        with replacing_folder(tmp_path / "folder") as part:
            fill(part, "half")
            raise error

    with pytest.raises(error):
        fail_half_way()
    assert contents_of(tmp_path) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(5, "Input/output error")])
def test_being_stopped_between_the_two_renames_puts_the_old_folder_back(tmp_path, monkeypatch, error, contents_of):
    fill(tmp_path / "folder", "old")
    before = contents_of(tmp_path)
    rename, renamed = Path.rename, []

    def stopped(self, target):
        renamed.append(self)
        if len(renamed) == 2:
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", stopped)
    with pytest.raises((KeyboardInterrupt, InputError)), replacing_folder(tmp_path / "folder") as part:
        fill(part, "new")
    assert len(renamed) >= 2
    assert contents_of(tmp_path) == before


def test_a_folder_does_not_replace_a_file_or_a_link(tmp_path, contents_of):
    (tmp_path / "file").write_text("precious")
    fill(tmp_path / "real", "precious")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    before = contents_of(tmp_path)
    for name in ("file", "link"):
        with pytest.raises(InputError, match=f"can't write .*{name}"), replacing_folder(tmp_path / name) as part:
            fill(part, "new")
    assert contents_of(tmp_path) == before
    assert (tmp_path / "link").is_symlink()


def test_a_folder_below_a_file_can_not_be_written(tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(InputError, match="can't write"), replacing_folder(tmp_path / "file" / "folder"):
        raise AssertionError("the block must not be entered")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_is_flushed_to_disk_is_open_for_writing(tmp_path, monkeypatch):
    """Windows refuses to flush what is open for reading alone; so does a write of nothing here."""
    monkeypatch.setattr(os, "fsync", lambda number: os.write(number, b""))
    with replacing_file(tmp_path / "new") as part:
        part.write_bytes(b"new")
    assert (tmp_path / "new").read_bytes() == b"new"


def test_a_file_is_itself_by_every_name_and_what_is_not_there_is_nothing(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "b").write_bytes(b"")
    assert identity(tmp_path / "a") == identity(tmp_path / "link") != identity(tmp_path / "b")
    assert [identity(name) for name in (tmp_path / "gone", "x" * 5000, "a\0")] == [None] * 3
