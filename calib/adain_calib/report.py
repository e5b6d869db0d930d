"""How ranges were found, against what int8 costs then: calibrations of one network, by every method, on equal pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adain_calib.scoring import Judge, Scores, Simulator
from adain_export.calibration import Calibration, inner_layers, int8_macs
from adain_export.layer_range import METHODS, Method
from adain_model.network import Network
from adain_runtime.backend import Array

GAIN = 8
"""What differences are multiplied by to be seen."""

COLUMNS = ("content", "style", "float32", "int8", f"difference x{GAIN}")


@dataclass(frozen=True)
class Row:
    """One calibration by one method.

    Attributes:
        calibration: its name.
        seen: ``pairs`` where it saw content x style x alpha, ``plain`` where it saw images as they are.
        method: of the ranges.
        layers: ``inner`` for all but the first and the last convolution, ``listed`` for the calibration's own list.
        macs: share of the multiply-accumulates in int8, 0 to 1.
        improved: whether its weights were equalised or its biases corrected.
        shifted: whether what a ReLU lets through has all codes, or half of them.
        scores: over the pairs.
    """

    calibration: str
    seen: str
    method: str
    layers: str
    macs: float
    improved: bool
    shifted: bool
    scores: Scores

    def to_json(self) -> dict[str, object]:
        """The row as JSON values."""
        names = ("calibration", "seen", "method", "layers", "macs", "improved", "shifted")
        plain = {name: getattr(self, name) for name in names}
        return plain | self.scores.to_json()


def compare_methods(
    network: Network,
    calibrations: Mapping[str, Calibration],
    judge: Judge,
    *,
    advance: Callable[[], object] = lambda: None,
) -> tuple[Row, ...]:
    """Every calibration by every method, with all inner convolutions in int8; then its own list, where it is another.

    Args:
        network: float32, theirs.
        calibrations: by name.
        judge: has the pairs.
        advance: called after each row, for a progress bar.

    Raises:
        QualityError: an image that is not finite.
    """
    rows = []
    for name, calibration in calibrations.items():
        for method, layers, kind in cases(calibration):
            made = calibration.with_method(method)
            row = Row(
                calibration=name,
                seen="pairs" if calibration.origin.styles else "plain",
                method=method,
                layers=kind,
                macs=int8_macs(network, layers),
                improved=bool(made.improvements.bias or made.improvements.equalisation),
                shifted=any(layer.shifted for layer in made.layers.values()),
                scores=Simulator(network, made, judge)(layers),
            )
            rows.append(row)
            advance()
    return tuple(rows)


def cases(calibration: Calibration) -> Iterator[tuple[Method, tuple[str, ...], str]]:
    """Method, layers and kind of each row that a calibration gives."""
    inner = inner_layers(tuple(calibration.layers))
    for method in METHODS:
        yield method, inner, "inner"
    if calibration.int8 != inner:
        yield calibration.method, calibration.int8, "listed"


def sheet_rows(simulator: Simulator, layers: Sequence[str], places: Sequence[int]) -> list[list[NDArray[np.uint8]]]:
    """Pictures of some pairs, as `COLUMNS` names them, each the middle square of its image.

    Args:
        simulator: of the calibration that is shown.
        layers: in int8.
        places: of the pairs in the judge's samples.
    """
    judge = simulator.judge
    images = list(simulator.images(layers))
    rows = []
    for place in places:
        sample, wanted, found = judge.samples[place], judge.wanted[place], images[place]
        difference = (GAIN * np.abs(found - wanted)).clip(0, 1)
        planes = (judge.contents[sample.content], judge.styles[sample.styles[0]], wanted, found, difference)
        rows.append([_square(image) for image in planes])
    return rows


def shown_places(judge: Judge, count: int) -> list[int]:
    """The first pairs in one whole style, which a picture can show, each of another content where there are as many."""
    whole = [i for i, sample in enumerate(judge.samples) if len(sample.styles) == 1 and sample.alpha == 1]
    first = {judge.samples[i].content: i for i in reversed(whole)}
    return sorted(first.values())[:count]


def _square(image: Array) -> NDArray[np.uint8]:
    height, width = image.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = image[0, :, top : top + side, left : left + side]
    return np.ascontiguousarray(np.rint(255 * middle.clip(0, 1)).astype(np.uint8).transpose(1, 2, 0))
