"""Error by depth as inline SVG: where a backend leaves its tolerance, drawn in the page's own colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

from adain_parity.results import LayerError

WIDTH, HEIGHT = 760, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 16, 30, 74
_SMALLEST = 1e-9  # an error of 0 is drawn on the floor of the plot
_LABELS = 26  # more than these would touch


@dataclass(frozen=True)
class _Axes:
    """Layers across, decades up."""

    count: int
    low: int
    high: int

    def x(self, index: int) -> float:
        span = WIDTH - _LEFT - _RIGHT
        return _LEFT + span * (index + 0.5) / self.count

    def y(self, value: float | None) -> float:
        if value is None:
            return _TOP
        decades = min(max(log10(max(value, _SMALLEST)), self.low), self.high)
        return _TOP + (HEIGHT - _TOP - _BOTTOM) * (self.high - decades) / (self.high - self.low)


def curve_svg(curve: Sequence[LayerError], *, blamed: str | None, label: str) -> str:
    """The relative error of every layer on a logarithmic scale, with the tolerance as a dashed line.

    A layer with values that are not finite is a cross at the top. The blamed layer is marked and named.

    Args:
        curve: at least one layer, in the order of depth.
        blamed: the name of the layer to mark; None for none.
        label: what is shown, for those who don't see it.
    """
    axes = _axes(curve)
    mark = next((i for i, point in enumerate(curve) if point.layer == blamed), None)
    lines = [
        f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">',
        *_grid(axes),
        *_stages(curve, axes),
        _tolerance(curve, axes),
        *_marked(curve, axes, mark),
        *(f'<path class="error" d="{path}"/>' for path in _paths(curve, axes)),
        *(_point(point, i, axes, marked=i == mark) for i, point in enumerate(curve)),
        *_names(curve, axes, mark),
        "</svg>",
    ]
    return "\n".join(lines)


def _axes(curve: Sequence[LayerError]) -> _Axes:
    values = [max(value, _SMALLEST) for point in curve for value in (point.error, point.tolerance) if value is not None]
    low, high = floor(log10(min(values))), ceil(log10(max(values)) + 0.1)
    return _Axes(len(curve), low, max(high, low + 1))


def _grid(axes: _Axes) -> list[str]:
    every = max(1, (axes.high - axes.low) // 6)
    lines = []
    for decade in range(axes.low, axes.high + 1, every):
        y = axes.y(10.0**decade)
        lines.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        power = f'10<tspan dy="-5" font-size="9">{_minus(decade)}</tspan>' if decade else "1"
        lines.append(f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{power}</text>')
    lines.append(f'<text class="axis" x="{_LEFT - 44}" y="{_TOP - 14}">relative error</text>')
    return lines


def _stages(curve: Sequence[LayerError], axes: _Axes) -> list[str]:
    """A line where one part of the network ends and the next begins."""
    lines = []
    for i in range(1, len(curve)):
        if _stage(curve[i].layer) != _stage(curve[i - 1].layer):
            x = (axes.x(i - 1) + axes.x(i)) / 2
            lines.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>')
    return lines


def _tolerance(curve: Sequence[LayerError], axes: _Axes) -> str:
    half = (WIDTH - _LEFT - _RIGHT) / axes.count / 2
    steps = [
        f"{'M' if i == 0 else 'L'}{axes.x(i) - half:.1f} {axes.y(point.tolerance):.1f}H{axes.x(i) + half:.1f}"
        for i, point in enumerate(curve)
    ]
    y = axes.y(curve[-1].tolerance)
    text = f'<text class="allowed" x="{WIDTH - _RIGHT}" y="{y - 6:.1f}" text-anchor="end">allowed</text>'
    return f'<path class="tolerance" d="{"".join(steps)}"/>{text}'


def _marked(curve: Sequence[LayerError], axes: _Axes, mark: int | None) -> list[str]:
    if mark is None:
        return []
    x = axes.x(mark)
    anchor = "start" if x < WIDTH * 0.3 else "end" if x > WIDTH * 0.7 else "middle"
    return [
        f'<line class="blamed" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 8}" y2="{HEIGHT - _BOTTOM}"/>',
        f'<text class="blamed" x="{x:.1f}" y="{_TOP - 14}" text-anchor="{anchor}">{escape(curve[mark].layer)}</text>',
    ]


def _paths(curve: Sequence[LayerError], axes: _Axes) -> list[str]:
    """The line through the points, broken where a value is not finite."""
    paths: list[str] = []
    before = False
    for i, point in enumerate(curve):
        if point.error is None:
            before = False
            continue
        step = f"{axes.x(i):.1f} {axes.y(point.error):.1f}"
        if before:
            paths[-1] += f"L{step}"
        else:
            paths.append(f"M{step}")
        before = True
    return paths


def _point(point: LayerError, index: int, axes: _Axes, *, marked: bool) -> str:
    x, y = axes.x(index), axes.y(point.error)
    found = "not finite" if point.error is None else f"{point.error:.2g}"
    title = f"<title>{escape(point.layer)}: {found}, allowed {point.tolerance:.2g}</title>"
    kind = f"point{'' if point else ' beyond'}{' marked' if marked else ''}"
    if point.error is None:
        return f'<path class="{kind} cross" d="M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8">{title}</path>'
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{4.5 if marked else 3}">{title}</circle>'


def _names(curve: Sequence[LayerError], axes: _Axes, mark: int | None) -> list[str]:
    every = ceil(len(curve) / _LABELS)
    y = HEIGHT - _BOTTOM + 12
    lines = []
    for i, point in enumerate(curve):
        if i % every and i != mark:
            continue
        if mark is not None and i != mark and abs(i - mark) < every:
            continue  # it would touch the name that matters
        x = axes.x(i) + 3
        kind = "layer blamed" if i == mark else "layer"
        short = _short(point.layer)
        turned = f'transform="translate({x:.1f} {y}) rotate(-52)" text-anchor="end"'
        lines.append(f'<text class="{kind}" {turned}>{escape(short)}</text>')
    return lines


def _stage(layer: str) -> str:
    return layer.partition(".")[0]


def _short(layer: str) -> str:
    name = layer.partition(".")[2] or layer
    return name if len(name) <= 14 else f"{name[:6]}…{name[-7:]}"


def _minus(decade: int) -> str:
    return str(decade).replace("-", "\u2212")
