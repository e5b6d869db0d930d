"""parity.toml: what it declares, and what is refused by name."""

from __future__ import annotations

import pytest

from adain_parity.matrix import DEFAULT, Cell, load, parse_size
from adain_runtime.errors import InputError

SMALL = """
schema_version = 1
models = ["lite"]
sizes = ["16x24", "88x136"]
contents = ["cat"]
styles = ["summertime", "flat"]
alphas = [1.0, 0.5]

[[backends]]
name = "onnx"
precisions = ["fp32"]

[[backends]]
name = "other"
precisions = ["fp32"]
sizes = ["32x32"]

[quick]
sizes = ["16x24"]
alphas = [0.5]
backends = ["onnx"]
"""


@pytest.fixture
def matrix_file(tmp_path):
    def write(old="", new=""):
        assert old in SMALL
        path = tmp_path / "parity.toml"
        path.write_text(SMALL.replace(old, new) if old else SMALL + new, encoding="utf-8")
        return path

    return write


def test_every_combination_is_a_cell_and_a_backend_may_have_sizes_of_its_own(matrix_file):
    matrix = load(matrix_file())
    onnx, other = matrix.backends
    assert len(list(matrix.cells(onnx))) == 2 * 2 * 2
    assert next(iter(matrix.cells(other))) == Cell(32, 32, "cat", "summertime", 1.0)
    assert len(list(matrix.cells(other))) == 4


def test_quick_takes_what_its_table_says_and_leaves_the_rest(matrix_file):
    matrix = load(matrix_file()).reduced()
    assert [row.name for row in matrix.backends] == ["onnx"]
    assert list(matrix.cells(matrix.backends[0])) == [
        Cell(16, 24, "cat", "summertime", 0.5),
        Cell(16, 24, "cat", "flat", 0.5),
    ]


def test_quick_without_a_table_is_refused(matrix_file):
    path = matrix_file('[quick]\nsizes = ["16x24"]\nalphas = [0.5]\nbackends = ["onnx"]\n', "")
    with pytest.raises(InputError, match=r"no \[quick\] table"):
        load(path).reduced()


def test_the_matrix_that_ships_loads_and_has_a_quick_one():
    assert load(DEFAULT).reduced().backends


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("schema_version = 1", "schema_version = 2", "schema_version: expected 1, found 2"),
        ("schema_version = 1", "", "schema_version: expected 1, found none"),
        ('models = ["lite"]', "models = []", "models: expected one or more"),
        ('models = ["lite"]', 'models = ["lite", "lite"]', "models: 'lite' stands there twice"),
        ('models = ["lite"]', 'modles = ["lite"]', "unknown field modles"),
        ('models = ["lite"]', "", "no field models"),
        ('"88x136"', '"88*136"', "sizes: expected HEIGHTxWIDTH such as 256x256, found '88[*]136'"),
        ("alphas = [1.0, 0.5]", "alphas = [true]", r"alphas\[0\]: expected a finite number, found True"),
        ('name = "onnx"', 'nmae = "onnx"', r"backends\[0\]: unknown field nmae"),
        ('name = "other"', 'name = "onnx"', "onnx fp32 stands there twice"),
        ('backends = ["onnx"]', 'backends = ["mnn"]', "quick.backends: no backend mnn"),
        ("", "\n[limits]\nseconds = 0\n", "more than 0 seconds"),
        ("", "\n[limits", "not TOML"),
    ],
)
def test_a_mistake_is_named_with_its_file(matrix_file, old, new, message):
    path = matrix_file(old, new)
    with pytest.raises(InputError, match=message) as error:
        load(path).reduced()
    assert str(path) in str(error.value)


def test_no_such_matrix(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(InputError, match="is no file"):
        load(tmp_path)


@pytest.mark.parametrize("text", ["0x16", "16", "16x", "x16", "1e3x16", "16x16 ", "123456x16"])
def test_a_size_that_is_none(text):
    with pytest.raises(InputError, match="HEIGHTxWIDTH"):
        parse_size(text)


def test_a_backend_may_have_styles_and_alphas_of_its_own(matrix_file):
    matrix = load(matrix_file('sizes = ["32x32"]', 'sizes = ["32x32"]\nstyles = ["noise"]\nalphas = [0.25]'))
    assert list(matrix.cells(matrix.backends[1])) == [Cell(32, 32, "cat", "noise", 0.25)]


def test_a_builder_runs_nothing_and_takes_no_option_of_a_run(matrix_file):
    row = '[[backends]]\nname = "trt-rtx"\nprecisions = ["fp32"]\n'
    assert load(matrix_file("[quick]", f"{row}[quick]")).backends[-1].only_builds
    with pytest.raises(InputError, match="trt-rtx: engines are built and not run"):
        load(matrix_file("[quick]", f"{row}threads = 2\n[quick]"))


def test_a_backend_may_have_several_rows_and_a_bundle_is_run_by_the_row_of_its_precision(matrix_file):
    row = '[[backends]]\nname = "onnx"\nprecisions = ["int8"]\nsizes = ["32x32"]\n'
    matrix = load(matrix_file("[quick]", f"{row}[quick]"))
    assert [row.precisions for row in matrix.rows_for("onnx", "int8")] == [("int8",)]
    assert [row.precisions for row in matrix.rows_for("onnx", "fp16")] == [("fp32",)]
    assert list(matrix.rows_for("clay", "fp32")) == []
    assert len(matrix.reduced().backends) == 2
