"""Tables that evaluation shows to people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from adain_runtime.cli import console
from adain_train.scores import Row

if TYPE_CHECKING:
    from rich.table import Table


def loss_tables(groups: Mapping[str, Sequence[Row]]) -> list[Table]:
    """Losses and similarity of models: a table for each group of pairs that has rows.

    Args:
        groups: rows by the name of the pairs that they were measured on.
    """
    columns = ("model", "content", "style", "to-photo", "SSIM", "VGG-dist")

    def with_error(row: Row, loss: str) -> str:
        mean = f"{getattr(row.mean, loss):.2f}"
        return mean if row.error is None else f"{mean} ± {getattr(row.error, loss):.2f}"

    tables = []
    for name, rows in groups.items():
        lines = [
            (
                row.name,
                with_error(row, "content"),
                with_error(row, "style"),
                f"{row.mean.to_content:.2f}",
                f"{row.mean.ssim:.3f}",
                f"{row.mean.vgg_distance:.3f}",
            )
            for row in rows
        ]
        if rows:
            tables.append(console.table(f"{name}: mean ± standard error", columns, lines, right=" ".join(columns[1:])))
    return tables


def times_tables(rows: Sequence[Row], title: str) -> list[Table]:
    """How many times a reference's losses those of other networks are; no table where none was compared.

    Args:
        rows: of the same pairs.
        title: of the table.
    """

    def shown(ratio: float, error: float | None) -> str:
        return f"{ratio:.2f}" if error is None else f"{ratio:.2f} ± {error:.2f}"

    lines = [
        (row.name, shown(row.times.content, row.times.content_error), shown(row.times.style, row.times.style_error))
        for row in rows
        if row.times is not None and row.macs_per_pixel is not None
    ]
    columns = ("model", "content", "style")
    return [console.table(title, columns, lines, right=" ".join(columns[1:]))] if lines else []


def cost_table(rows: Sequence[Row], where: str) -> Table:
    """Time, operations and parameters of whatever was timed, each name once.

    Args:
        rows: of any pairs.
        where: size and device.
    """
    columns = ("model", "ms", "MACs/pixel", "parameters")
    lines = [
        (
            row.name,
            f"{row.milliseconds:,.0f}",
            "-" if row.macs_per_pixel is None else f"{row.macs_per_pixel:,.0f}",
            "-" if row.parameters is None else f"{row.parameters:,}",
        )
        for row in {row.name: row for row in rows}.values()
        if row.milliseconds is not None
    ]
    return console.table(f"Cost of this run: {where}", columns, lines, right=" ".join(columns[1:]))
