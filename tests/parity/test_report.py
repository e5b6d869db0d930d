"""``adain-parity report``, what is written of a run, and what is seen of it on a terminal."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from rich.console import Console

from adain_parity import cli
from adain_parity.report import write_report
from adain_parity.terminal import renderables
from adain_runtime.cli import console
from runs import FAILED, SKIPPED, a_case, a_run, every_verdict, large_run


@pytest.fixture
def adain_parity(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setitem(console._state, "verbose", False)
        monkeypatch.setattr(sys, "argv", ["adain-parity", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return run


def seen(run, width=80):
    written = io.StringIO()
    terminal = Console(width=width, file=written)
    for each in renderables(run):
        terminal.print(each)
    return written.getvalue()


def test_the_report_of_a_run_is_three_files(tmp_path):
    written = write_report(every_verdict(), tmp_path / "new" / "report")
    assert [path.name for path in written] == ["parity.html", "parity.junit.xml", "parity.md"]
    assert sorted(path.name for path in (tmp_path / "new" / "report").iterdir()) == sorted(p.name for p in written)


def test_the_same_run_gives_the_same_bytes(tmp_path):
    run = large_run(tmp_path, 40)
    once, twice = (write_report(run, tmp_path / name, pictures=tmp_path) for name in "ab")
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in twice]


def test_the_command_makes_the_report_again_with_the_pictures_beside_the_run(adain_parity, tmp_path):
    run = large_run(tmp_path / "run", 30)
    run.save(tmp_path / "run" / "parity.json")
    code, _, err = adain_parity("report", tmp_path / "run", "-o", tmp_path / "page")
    assert code == 0
    assert err.count("wrote ") == 3
    page = (tmp_path / "page" / "parity.html").read_text()
    assert "data:image/webp" in page
    assert "not where the run says they are" not in page


def test_without_a_folder_nothing_is_written(adain_parity, tmp_path):
    every_verdict().save(tmp_path / "parity.json")
    code, out, err = adain_parity("report", tmp_path / "parity.json")
    assert (code, err) == (0, "")
    assert out.rstrip().endswith("4 of 5 cases do not hold against PyTorch")
    assert [path.name for path in tmp_path.iterdir()] == ["parity.json"]
    assert adain_parity("report", tmp_path, "--markdown")[1].startswith("## 4 of 5 cases do not hold")
    assert json.loads(adain_parity("report", tmp_path, "--json")[1]) == {"exit_code": 1, "written": []}


def test_what_can_not_be_read_or_written_is_one_line(adain_parity, tmp_path):
    (tmp_path / "no.json").write_text("{}")
    every_verdict().save(tmp_path / "parity.json")
    for arguments in ((tmp_path / "no.json",), (tmp_path / "gone.json",), (tmp_path, "-o", tmp_path / "no.json" / "x")):
        code, out, err = adain_parity("report", *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
    assert adain_parity("report", tmp_path, "--json", "--markdown")[0] == 2


def test_report_and_diff_work_without_torch(tmp_path):
    every_verdict().save(tmp_path / "parity.json")
    program = (
        "import sys; sys.modules['torch'] = sys.modules['onnx'] = None;"
        "from adain_parity.cli import main; sys.argv[0] = 'adain-parity'; main()"
    )

    def run(*arguments):
        command = [sys.executable, "-c", program, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert run("report", tmp_path, "-o", tmp_path / "page").returncode == 0
    assert run("diff", tmp_path, tmp_path).returncode == 0
    assert (ended := run("run")).returncode == 3, ended.stderr


def test_the_terminal_shows_the_worst_first_and_every_reason():
    text = seen(every_verdict())
    places = [text.index(word) for word in ("crashed  lite", "timed out  lite", "failed  lite", "skipped 1 of trt")]
    assert places == sorted(places)
    flat = " ".join(text.split())
    for case in every_verdict().cases:
        assert case.reason in flat
    assert FAILED.blame.sentence in flat
    assert "Segmentation fault & more" in flat


def test_no_line_is_cut_or_broken_at_common_widths(tmp_path):
    run = large_run(tmp_path, 500, side=8)
    for width in (80, 100, 160):
        text = seen(run, width)
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
        row = next(line for line in text.splitlines() if "coreml-reference" in line)
        assert len(row.split()) == 7


def test_a_skipped_case_of_a_required_backend_is_among_what_did_not_pass():
    run = a_run(a_case(), SKIPPED, required=("trt",))
    assert "skipped  lite on trt, fp32" in seen(run)
    assert "skipped 1 of trt" not in seen(run)


def test_a_long_list_is_cut_where_the_page_goes_on():
    assert "and 70 more: see parity.html" in seen(
        a_run(*(a_case(f"{i}", verdict="failed", reason="r") for i in range(100)))
    )


def test_names_that_are_no_utf_8_and_control_characters_can_be_written(tmp_path):
    run = a_run(a_case(), required=("gone\x01",), command="adain-parity run -o out\udcff", matrix="m\udcff\x02.toml")
    page, junit, summary = (path.read_text(encoding="utf-8") for path in write_report(run, tmp_path))
    assert "out\\udcff" in page
    assert "m.toml" in junit
    assert "gone" in summary
    ET.parse(tmp_path / "parity.junit.xml")
