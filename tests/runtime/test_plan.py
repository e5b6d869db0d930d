"""Which pictures come in and where each goes, before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from adain_runtime import jobs as adain_jobs
from adain_runtime.errors import InputError
from adain_runtime.jobs import Job, default_name, find_contents, plan, spell_kinds


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names) -> list[Path]:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"")
    return [Path(name) for name in names]


def outputs(jobs) -> list[str]:
    return [str(job.output) for job in jobs]


def test_a_file_is_one_content_whether_or_not_it_is_there():
    assert find_contents("photo.jpg") == ([Path("photo.jpg")], False, [])


def test_a_folder_means_its_images_sorted_and_nothing_below():
    touch("in/b.PNG", "in/a.jpg", "in/notes.txt", "in/sub/c.jpg", "in/d.webp")
    Path("in/folder.jpg").mkdir()
    assert find_contents("in") == ([Path("in/a.jpg"), Path("in/b.PNG"), Path("in/d.webp")], True, [])


def test_a_folder_keeps_its_hidden_files_to_itself_as_a_glob_does():
    touch("in/._a.jpg", "in/.trash.png", "in/a.jpg")
    assert find_contents("in") == find_contents("in/*") == ([Path("in/a.jpg")], True, [])


def test_a_file_that_matches_a_glob_in_two_ways_is_one():
    touch("in/a.jpg", "in/sub/b.jpg")
    assert find_contents("in/**/**/*.jpg")[0] == [Path("in/a.jpg"), Path("in/sub/b.jpg")]


def test_a_glob_means_the_files_that_match_sorted():
    touch("in/b.jpg", "in/a.jpg", "in/a.txt", "in/sub/c.jpg")
    assert find_contents("in/*.jpg") == ([Path("in/a.jpg"), Path("in/b.jpg")], True, [])
    assert find_contents("in/**/*.jpg")[0] == [Path("in/a.jpg"), Path("in/b.jpg"), Path("in/sub/c.jpg")]


def test_a_file_whose_name_looks_like_a_glob_is_that_file():
    touch("photo[1].jpg", "photo1.jpg")
    assert find_contents("photo[1].jpg") == ([Path("photo[1].jpg")], False, [])


def test_pictures_of_kinds_that_are_not_read_are_passed_over_by_name():
    touch("in/a.jpg", "in/b.HEIC", "in/c.heic", "in/d.dng", "in/notes.txt")
    found = find_contents("in")
    assert found.files == [Path("in/a.jpg")]
    assert spell_kinds(found.passed_over) == "1 .dng, 2 .heic"


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("empty", "empty: no images in this folder"),
        ("raw", r"raw: no images in this folder: 1 \.dng can't be read here; convert them to JPEG or PNG"),
        ("raw/*", r"raw/\*: no image matches; 1 \.dng match and can't be read here; convert them"),
        ("*.jpg", r"\*.jpg: no image matches; check the pattern"),
        ("x" * 5000, "can't be read"),
        ("x" * 5000 + "*", "can't be read"),
    ],
)
def test_a_content_that_is_nothing_is_refused(content, named):
    touch("empty/notes.txt", "raw/a.dng")
    with pytest.raises(InputError, match=named):
        find_contents(content)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("a/photo.jpg", "photo-wave.jpg"),
        ("photo.JPEG", "photo-wave.JPEG"),
        ("photo.gif", "photo-wave.png"),
        ("photo", "photo-wave.png"),
        ("photo.1.tif", "photo.1-wave.tif"),
    ],
)
def test_an_output_is_named_after_its_content_and_style_in_a_format_that_can_be_written(content, name):
    assert default_name(Path(content), "wave") == name


@pytest.mark.parametrize(
    ("many", "output", "wanted"),
    [
        (False, None, ["a-w.jpg"]),
        (False, "out.png", ["out.png"]),
        (False, "new/out.png", ["new/out.png"]),
        (False, "folder", ["folder/a-w.jpg"]),
        (False, "new/", ["new/a-w.jpg"]),
        (True, None, ["stylized/a-w.jpg", "stylized/b-w.png"]),
        (True, "new/deep", ["new/deep/a-w.jpg", "new/deep/b-w.png"]),
        (True, "folder", ["folder/a-w.jpg", "folder/b-w.png"]),
    ],
)
def test_outputs_go_where_they_are_told_and_planning_makes_nothing(many, output, wanted):
    Path("folder").mkdir()
    contents = touch("in/a.jpg", "in/b.gif")[: 2 if many else 1]
    before = sorted(Path().rglob("*"))
    jobs = plan(contents, many=many, label="w", output=output)
    assert outputs(jobs) == wanted
    assert [job.content for job in jobs] == contents
    assert sorted(Path().rglob("*")) == before


def test_many_pictures_into_what_names_a_picture_is_refused():
    with pytest.raises(InputError, match=r"out\.png: names a file, and many pictures need a folder"):
        plan(touch("in/a.jpg"), many=True, label="w", output="out.png")


def test_two_contents_that_would_become_one_output_are_refused():
    contents = touch("in/a.gif", "in/a.png")
    with pytest.raises(InputError, match=r"in/a\.gif and in/a\.png would both become stylized/a-w\.png"):
        plan(contents, many=True, label="w", output=None)
    assert not Path("stylized").exists()


def link_to(path: Path, kind: str) -> str:
    if kind == "same":
        return str(path)
    if kind == "roundabout":
        return f"in/../{path}"
    if kind == "symlink":
        Path("out.jpg").symlink_to(path.absolute())
    else:
        Path("out.jpg").hardlink_to(path)
    return "out.jpg"


@pytest.mark.parametrize("kind", ["same", "roundabout", "symlink", "hardlink"])
@pytest.mark.parametrize("which", [0, 1])
def test_an_output_that_is_an_input_is_refused_by_whatever_name(kind, which):
    content, style = touch("in/photo.jpg", "in/wave.jpg")
    output = link_to((content, style)[which], kind)
    with pytest.raises(InputError, match="would replace an input; choose another -o"):
        plan([content], many=False, label="w", output=output, keep=[style])


def test_a_folder_run_that_would_replace_one_of_its_own_inputs_is_refused():
    contents = touch("in/a.jpg", "in/a-w.jpg")
    with pytest.raises(InputError, match=r"in/a-w\.jpg: would replace an input"):
        plan(contents, many=True, label="w", output="in")


def test_an_old_output_may_be_replaced():
    content, old = touch("photo.jpg", "photo-w.jpg")
    assert plan([content], many=False, label="w", output=None, keep=[Path("gone.jpg")]) == [Job(content, old)]


@pytest.mark.parametrize(
    ("many", "output", "named"),
    [
        (False, "out.gif", r"out\.gif has the suffix \.gif"),
        (False, "out", "out has no suffix"),
        (True, "file.txt", r"file\.txt: names a file, and many pictures need a folder"),
        (False, "file.txt/", r"file\.txt: names a file"),
        (False, "file.txt/out.png", r"file\.txt: can't be written"),
        (False, "/proc/none/out.png", "/proc/none: can't be made"),
        (True, "/proc/none", "/proc/none: can't be made"),
        (False, "x" * 300 + ".png", "File name too long; choose another -o"),
        (True, "x" * 300, "File name too long; choose another -o"),
    ],
)
def test_an_output_that_can_not_be_written_is_refused_before_the_work(many, output, named):
    if output.startswith("/proc") and not Path("/proc/self").exists():
        pytest.skip("needs /proc, a folder where nobody can write")
    touch("file.txt")
    with pytest.raises(InputError, match=named):
        plan(touch("photo.jpg"), many=many, label="w", output=output)


@pytest.mark.parametrize(
    ("stem", "label"),
    [("x" * 251, "wave"), ("x" * 10, "w" * 300), ("\u6ce2" * 82, "\u6ce2" * 80), ("\U0001f30a" * 62, "w")],
)
def test_a_default_name_is_cut_to_what_a_file_system_takes(stem, label):
    name = default_name(Path(f"{stem}.jpg"), label)
    assert len(name.encode()) <= 255
    assert len(name.encode()) > 240 or name == f"{stem}-{label[:127]}.jpg"
    assert name.startswith(stem[:10])
    assert f"-{label[:30]}" in name
    touch(name)


def test_names_that_were_cut_to_the_same_are_refused():
    contents = [Path(folder, "x" * 251 + ".jpg") for folder in ("a", "b")]
    with pytest.raises(InputError, match="would both become"):
        plan(contents, many=True, label="w", output=None)


def test_names_that_differ_in_case_are_two_files_or_one(monkeypatch):
    contents = touch("in/IMG.jpg", "in/sub/img.jpg")
    if not adain_jobs._folds(Path()):
        assert outputs(plan(contents, many=True, label="w", output="out")) == ["out/IMG-w.jpg", "out/img-w.jpg"]
        with pytest.raises(InputError, match=r"in/a\.gif and in/a\.png would both become out/a-w\.png"):
            plan(touch("in/A.gif", "in/a.gif", "in/a.png"), many=True, label="w", output="out")
    monkeypatch.setattr(adain_jobs, "_folds", lambda _: True)
    with pytest.raises(InputError, match=r"in/IMG\.jpg and in/sub/img\.jpg would both become"):
        plan(contents, many=True, label="w", output="out")
    assert len(plan(touch("in/a.jpg", "in/b.jpg"), many=True, label="w", output="out")) == 2


def test_a_folder_that_folds_is_found_out():
    touch("probe")
    assert adain_jobs._folds(Path()) is Path("PROBE").exists()


def test_a_style_that_can_not_be_looked_at_is_not_the_output():
    content, old = touch("photo.jpg", "out.png")
    assert plan([content], many=False, label="w", output="out.png", keep=[Path("x" * 5000)]) == [Job(content, old)]


def test_an_output_on_a_drive_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(Path, "exists", lambda _: False)
    with pytest.raises(InputError, match="there is no / here; choose another -o"):
        plan([Path("photo.jpg")], many=False, label="w", output="/out.png")
