"""Workflows, the composite action and the hooks: their schemas, what they run, and that they may do little else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

import pytest
import typer.main
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement

from adain_parity import matrix
from adain_parity.cli import make_app

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTION = ROOT / "action.yml"
MATRICES = sorted((ROOT / ".github").glob("*.toml"))


def read(path: Path) -> dict:
    # YAML 1.1, which PyYAML reads, takes `on` for a truth.
    return {"on" if key is True else key: value for key, value in yaml.safe_load(path.read_text()).items()}


def jobs() -> Iterator[tuple[str, dict]]:
    for path in WORKFLOWS:
        for name, job in read(path)["jobs"].items():
            yield f"{path.name}: {name}", job


def steps() -> Iterator[tuple[str, dict]]:
    for name, job in jobs():
        yield from ((name, step) for step in job["steps"])
    yield from (("action.yml", step) for step in read(ACTION)["runs"]["steps"])


def scripts() -> list[tuple[str, str]]:
    return [(where, step["run"]) for where, step in steps() if "run" in step]


def run_tool(*command: object) -> None:
    ended = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def tool(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"{name} is not installed here")
    return found


def test_there_are_workflows():
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "devices.yml"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_fits_the_schema_of_workflows(path):
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed")
    run_tool(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", path)


def test_the_action_fits_the_schema_of_actions():
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed")
    run_tool(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-actions", ACTION)


def test_actionlint_finds_nothing():
    run_tool(tool("actionlint"), *WORKFLOWS)


def test_zizmor_finds_nothing():
    run_tool(tool("zizmor"), "--offline", "--quiet", "--no-progress", *WORKFLOWS, ACTION)


def test_shellcheck_finds_nothing(tmp_path):
    shellcheck = tool("shellcheck")
    for i, (_, script) in enumerate(scripts()):
        file = tmp_path / f"{i}.sh"
        file.write_text("#!/bin/bash\n" + re.sub(r"\$\{\{.*?\}\}", "value", script))
        run_tool(shellcheck, "--exclude=SC2086", file)  # `for backend in $REQUIRE` is split on purpose


def test_the_hooks_are_hooks():
    pytest.importorskip("pre_commit", reason="pre-commit is not installed")
    run_tool(sys.executable, "-m", "pre_commit", "validate-manifest", ".pre-commit-hooks.yaml")
    run_tool(sys.executable, "-m", "pre_commit", "validate-config", ".pre-commit-config.yaml")


def test_a_workflow_may_read_the_code_and_nothing_else():
    for path in WORKFLOWS:
        assert read(path)["permissions"] == {"contents": "read"}, path.name
    for name, job in jobs():
        assert "permissions" not in job, name


def test_only_githubs_own_actions_are_used_and_each_by_a_version():
    for where, step in steps():
        if (uses := step.get("uses", "./")) != "./":
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", uses), f"{where}: {uses}"


def test_a_checkout_leaves_no_token_behind():
    for where, step in steps():
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False, where


def test_no_script_has_an_expression_in_it():
    """An input that were pasted into a script could bring commands of its own: they come by the environment."""
    assert [where for where, script in scripts() if "${{" in script] == []


def test_every_job_ends_by_itself():
    assert [name for name, job in jobs() if not 0 < job["timeout-minutes"] <= 120] == []


def test_machines_of_ones_own_never_run_what_a_stranger_sends():
    for path in WORKFLOWS:
        workflow = read(path)
        own = any("self-hosted" in job["runs-on"] for job in workflow["jobs"].values())
        assert own == (path.name == "devices.yml")
        if own:
            assert set(workflow["on"]) == {"schedule", "workflow_dispatch"}


def test_every_make_target_that_is_run_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for where, script in scripts():
        for line in re.findall(r"^make (.+)$", script, re.MULTILINE):
            asked = {word for word in line.split() if "=" not in word}
            assert asked <= targets, f"{where}: make {line}"


def test_every_mark_that_is_run_is_declared(pytestconfig):
    declared = {line.partition(":")[0] for line in pytestconfig.getini("markers")}
    marks = re.findall(r"pytest -m (\w+)", "\n".join(script for _, script in scripts()))
    assert set(marks) == {"gpu", "macos"}
    assert set(marks) <= declared


def test_every_test_file_that_is_run_exists():
    named = re.findall(r"tests/\S+\.py", "\n".join(script for _, script in scripts()))
    assert named
    assert all((ROOT / name).is_file() for name in named)


def test_every_command_of_ours_that_is_run_takes_its_options():
    program = typer.main.get_command(make_app())
    seen = set()
    texts = [*scripts(), ("hooks", yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())[0]["entry"])]
    for where, script in texts:
        used = re.findall(r"adain-parity\"? ([a-z][a-z-]*)", script)
        if not used:
            continue
        assert set(used) <= set(program.commands), where
        called = [program.resolve_command(typer.Context(program), [name])[1] for name in used]
        known = {option for command in called for param in command.params for option in param.opts}
        options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", script))
        assert options <= known, f"{where}: {options - known}"
        seen.update(used)
    assert seen == {"run", "diff"}


def test_the_action_is_called_with_inputs_that_it_has_and_uses_all_of_them():
    declared = set(read(ACTION)["inputs"])
    for where, step in steps():
        if step.get("uses") == "./":
            assert set(step["with"]) <= declared, where
    assert set(re.findall(r"inputs\.([a-z-]+)", ACTION.read_text())) == declared


@pytest.mark.skipif(sys.platform == "win32", reason="the action's script wants bash")
@pytest.mark.parametrize(
    ("package", "asked"),
    [
        ("adain-edge", "adain-edge[export]"),
        ("adain-edge==0.1.0", "adain-edge[export]==0.1.0"),
        ("adain-edge >=0.1,<1", "adain-edge[export] >=0.1,<1"),
        ("adain-edge @ git+https://example.org/x@v1", "adain-edge[export] @ git+https://example.org/x@v1"),
        ("adain-edge@git+https://example.org/x@v1", "adain-edge[export] @ git+https://example.org/x@v1"),
        ("git+https://example.org/x@v1", "adain-edge[export] @ git+https://example.org/x@v1"),
        (
            "https://example.org/adain_edge-0.1.0.tar.gz",
            "adain-edge[export] @ https://example.org/adain_edge-0.1.0.tar.gz",
        ),
        ("dist/adain_edge-0.1.0-py3-none-any.whl", "dist/adain_edge-0.1.0-py3-none-any.whl[export]"),
        ("/home/runner/a @ b/main", "/home/runner/a @ b/main[export]"),
        ("./dist/adain_edge-0.1.0-py3-none-any.whl", "./dist/adain_edge-0.1.0-py3-none-any.whl[export]"),
    ],
)
def test_the_action_writes_extras_where_pip_reads_them(tmp_path, package, asked):
    (script,) = [step["run"] for step in read(ACTION)["runs"]["steps"] if step.get("name") == "Install"]
    for place in ("bin", "temp/adain-parity/bin"):
        (tmp_path / place).mkdir(parents=True)
    shown = tmp_path / "temp" / "adain-parity" / "bin" / "python"
    shown.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "bin" / "python3").write_text("#!/bin/sh\n")
    for path in (shown, tmp_path / "bin" / "python3"):
        path.chmod(0o755)
    given = {"SOURCE": package, "EXTRAS": "export", "PACKAGES": "", "SYSTEM": "", "RUNNER_TEMP": str(tmp_path / "temp")}
    ended = subprocess.run(
        ["bash", "-ec", script],
        env={"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"} | given,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.splitlines()[-1] == asked


@pytest.mark.parametrize("system", ["darwin", "win32", "linux"])
def test_what_has_wheels_for_one_system_is_asked_for_on_no_other(system):
    """As the metadata that is installed has it: the build takes the marker off where an extra names another extra."""
    here = default_environment() | {"sys_platform": system, "platform_machine": "arm64", "extra": "dev"}
    found = [Requirement(text) for text in requires("adain-edge") or ()]
    names = {each.name for each in found if each.marker is None or each.marker.evaluate(here)}
    assert "torch" in names
    assert not {name for name in names if name.startswith("tensorrt")}
    assert ("cuda-bindings" in names) is (system != "darwin")
    assert ("coremltools" in names) is (system == "darwin")


def test_python_is_tested_in_every_version_that_the_package_claims():
    claimed = re.findall(r"Python :: (3\.\d+)\"", (ROOT / "pyproject.toml").read_text())
    assert read(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]["test"]["strategy"]["matrix"]["python"] == claimed


def test_every_matrix_is_one_and_has_the_backends_that_are_required_of_it():
    assert [path.name for path in MATRICES] == ["parity-gpu.toml", "parity-jetson.toml"]
    for where, step in steps():
        if step.get("uses") == "./":
            file = step["with"].get("matrix")
            rows = matrix.load(ROOT / file if file else matrix.DEFAULT).backends
            assert set(step["with"]["require"].split()) <= {row.name for row in rows}, where


@pytest.fixture
def act(tmp_path):
    """Run a step of the action with a program in the place of adain-parity that tells what it was given."""
    program = tmp_path / "adain-parity" / "bin" / "adain-parity"
    program.parent.mkdir(parents=True)

    def run(step_id: str, exit_code: int = 0, **inputs: str) -> tuple[int, list[str], str]:
        program.write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" >"{tmp_path}/given"\nexit {exit_code}\n')
        program.chmod(0o755)
        step = next(step for step in read(ACTION)["runs"]["steps"] if step_id in (step.get("id"), step["name"]))
        defaults = {name: value["default"] for name, value in read(ACTION)["inputs"].items()}
        environment = {
            name: inputs.get(found[1], defaults[found[1]])
            for name, value in step["env"].items()
            if (found := re.fullmatch(r"\$\{\{ inputs\.([a-z-]+) \}\}", value))
        }
        files = {name: str(tmp_path / name.lower()) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        (tmp_path / "given").write_text("")
        ended = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            env={**os.environ, **environment, **files, "RUNNER_TEMP": str(tmp_path)},
            cwd=tmp_path,
            check=False,
        )
        out = Path(files["GITHUB_OUTPUT"])
        return ended.returncode, (tmp_path / "given").read_text().splitlines(), out.read_text() if out.exists() else ""

    return run


def test_the_action_without_inputs_runs_the_default_matrix(act):
    code, given, out = act("run")
    assert (code, given) == (0, ["run", "--output", "parity-report", "--jobs", "1"])
    assert out == "report=parity-report\nexit-code=0\n"


def test_the_action_hands_on_its_inputs_and_the_exit_code(act):
    code, given, out = act(
        "run",
        3,
        bundles="build/a folder\nbuild/b$(touch pwned)\n",
        checkpoints="vgg19.safetensors",
        matrix="my matrix.toml",
        quick="true",
        require="onnx torch",
        jobs="2",
        output="out",
    )
    assert code == 3
    assert given == [
        *("run", "--output", "out", "--jobs", "2", "--matrix", "my matrix.toml", "--quick"),
        *("--require", "onnx", "--require", "torch", "--checkpoint", "vgg19.safetensors"),
        *("build/a folder", "build/b$(touch pwned)"),
    ]
    assert out == "report=out\nexit-code=3\n"


def test_the_action_shows_the_summary_where_there_is_one(act, tmp_path):
    assert act("Summarise")[0] == 0
    assert not (tmp_path / "github_step_summary").exists()
    (tmp_path / "parity-report").mkdir()
    (tmp_path / "parity-report" / "parity.md").write_text("## All hold\n")
    assert act("Summarise")[0] == 0
    assert (tmp_path / "github_step_summary").read_text() == "## All hold\n"


def test_a_job_that_asks_for_tensorrt_brings_it():
    """No extra does: it is the machine's, or a package beside."""
    asking = [step["with"] for _, step in steps() if "trt" in step.get("with", {}).get("require", "").split()]
    assert len(asking) == 2
    for given in asking:
        assert given.get("system-site-packages") is True or "tensorrt" in given.get("packages", "")
