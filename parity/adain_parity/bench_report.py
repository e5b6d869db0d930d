"""What a benchmark found, as JSON, as a page of Markdown with its tables, and as a plot of time against size."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adain_parity.bench import LeftOut, Row
from adain_parity.bench_load import Load
from adain_runtime.errors import InputError, UnavailableError
from adain_runtime.files import replacing_file
from adain_runtime.results import make_folder

_HEADER = ("contender", "ms", "quartiles", "x plain", "GFLOP/s", "of sgemm", "peak MB", "load ms", "file MB", "PSNR")


@dataclass(frozen=True)
class Benchmark:
    """A whole run.

    Attributes:
        command: what made it.
        processor: the machine's, as its system names it.
        cores: CPUs of the machine.
        threads: what each contender was given.
        tools: name to version.
        load: what else ran meanwhile.
        sgemm: best rate of numpy's float32 matrix product in this run, in GFLOP/s.
        baseline: the contender that ratios are to.
        rows: what was measured.
        left_out: what wasn't, and why.
    """

    command: str
    processor: str
    cores: int
    threads: int
    tools: Mapping[str, str]
    load: Load
    sgemm: float
    baseline: str
    rows: tuple[Row, ...]
    left_out: tuple[LeftOut, ...]

    def to_json(self) -> str:
        """All of it, numbers to four digits."""
        plain = asdict(self)
        plain["rows"] = [{name: _rounded(value) for name, value in row.items()} for row in plain["rows"]]
        plain["load"] = {name: _rounded(value) for name, value in plain["load"].items()} | {"quiet": self.load.quiet}
        plain["sgemm"] = _rounded(self.sgemm)
        return json.dumps(plain, indent=1, allow_nan=False) + "\n"

    def to_markdown(self) -> str:
        """A page with a table for each network, size and thing measured."""
        lines = [
            "# Backends on the CPU",
            "",
            f"`{self.command}`, on {self.processor}, {self.cores} CPUs, threads each: {self.threads}; "
            f"numpy's sgemm reached {self.sgemm:.0f} GFLOP/s in the same run. Meanwhile {self.load}. "
            "Nothing but a CPU was measured.",
            "",
            "ms: the median; quartiles beside it. x plain: how many times as fast as `"
            + self.baseline
            + "`, the median "
            "of the ratios within each round. GFLOP/s: of the direct computation, so that Winograd's savings count as "
            "done. load: opening and the first run. PSNR: the float image against torch.",
        ]
        for what, network, size in dict.fromkeys((row.what, row.network, row.size) for row in self.rows):
            found = [row for row in self.rows if (row.what, row.network, row.size) == (what, network, size)]
            lines += ["", f"## {network}, {size}x{size}: {what}", "", *_table(found)]
        if self.left_out:
            lines += ["", "## Not measured", ""]
            lines += [f"- {one.network} {one.size}, {one.contender}: {one.reason}" for one in self.left_out]
        lines += ["", "Versions: " + ", ".join(f"{name} {version}" for name, version in self.tools.items()) + ".", ""]
        return "\n".join(lines)


def check_paths(base: Path) -> tuple[Path, ...]:
    """``base.json``, ``base.md`` and ``base.png``, which can be written as far as that can be known before.

    Raises:
        InputError: they can't.
    """
    if not base.name:
        raise InputError(f"-o {base}: is a folder; give the results a name, such as -o {base / 'bench'}")
    make_folder(base.parent)
    paths = tuple(base.with_name(base.name + suffix) for suffix in (".json", ".md", ".png"))
    for path in paths:
        if path.exists() and not path.is_file():
            raise InputError(f"-o {base}: {path} is there and is no file; choose another name")
    return paths


def write(found: Benchmark, base: Path) -> tuple[Path, ...]:
    """Write ``base.json``, ``base.md`` and ``base.png``, each whole or not at all.

    Raises:
        InputError: a file can't be written.
    """
    paths = check_paths(base)
    for path, text in ((paths[0], found.to_json()), (paths[1], found.to_markdown())):
        with replacing_file(path) as part:
            part.write_text(text, encoding="utf-8")
    with replacing_file(paths[2]) as part:
        plot(found, part)
    return paths


def require_matplotlib() -> None:
    """Say before an hour of measuring that the plot can't be made.

    Raises:
        UnavailableError: matplotlib is not installed.
    """
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise UnavailableError("adain-bench plots with matplotlib, which is not installed; pip install matplotlib")


def plot(found: Benchmark, path: Path) -> None:
    """Time of the stylizer part against size, a panel for each network, both axes logarithmic, as PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib import ticker

    rows = [row for row in found.rows if row.what == "stylizer"]
    networks = list(dict.fromkeys(row.network for row in rows))
    labels = list(dict.fromkeys(row.contender for row in rows))
    figure, axes = plt.subplots(1, max(len(networks), 1), figsize=(5 * max(len(networks), 1), 4), squeeze=False)
    for panel, network in zip(axes[0], networks, strict=False):
        for number, label in enumerate(labels):
            line = sorted((r for r in rows if (r.network, r.contender) == (network, label)), key=lambda row: row.size)
            if not line:
                continue
            sizes, middle = [row.size for row in line], [row.ms for row in line]
            panel.plot(sizes, middle, marker="o", markersize=4, color=f"C{number}", label=label)
            panel.fill_between(sizes, [r.low for r in line], [r.high for r in line], color=f"C{number}", alpha=0.15)
        sizes = sorted({row.size for row in rows if row.network == network})
        panel.set(xscale="log", yscale="log", title=network, xlabel="side, pixels", ylabel="stylizer, ms")
        panel.set_xticks(sizes, labels=[str(size) for size in sizes])
        panel.xaxis.set_minor_locator(ticker.NullLocator())
        panel.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
        panel.yaxis.set_minor_formatter(ticker.LogFormatter(minor_thresholds=(2, 0.5)))
        panel.grid(visible=True, which="both", alpha=0.3)
        panel.legend(fontsize=8)
    figure.suptitle(f"{found.processor}, threads: {found.threads}", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, format="png", dpi=110, metadata={"Software": None})
    plt.close(figure)


def _table(rows: Sequence[Row]) -> list[str]:
    body = [_cells(row) for row in rows]
    kept = [i for i in range(len(_HEADER)) if any(cells[i] != "-" for cells in body)]
    lines = [[_HEADER[i] for i in kept], ["---"] * len(kept), *([cells[i] for i in kept] for cells in body)]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.contender,
        f"{row.ms:.0f}",
        f"{row.low:.0f}-{row.high:.0f}",
        f"{row.ratio:.2f}",
        "-" if row.gflops is None else f"{row.gflops:.0f}",
        "-" if row.of_peak is None else f"{row.of_peak:.2f}",
        f"{row.rss / 1e6:.0f}",
        "-" if row.load_ms is None else f"{row.load_ms:.0f}",
        f"{row.bytes / 1e6:.1f}",
        "-" if row.psnr is None else f"{row.psnr:.1f} dB",
    )


def _rounded(value: Any) -> Any:  # noqa: ANN401 any JSON value, and the same back
    return float(f"{value:.4g}") if isinstance(value, float) else value
