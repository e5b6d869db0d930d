"""Let a decoder's last convolution read the four phases of the one before it, which then are never laid out.

Behind the last upsampling the maps are as large as the image and have few channels: laying the phases out, padding them
and reading them again costs more than the last convolution itself. On the phases it is a convolution of the small map
with four times the channels, whose taps are those of the 3x3 window, each where its row and column are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from adain_export.rewrites.phase import PhaseConv
from adain_model.network import Network, PaddedConv

_PHASES = ((0, 0), (0, 1), (1, 0), (1, 1))  # row and column within a cell


class PhaseCells(nn.Module):
    """A `PhaseConv` that leaves its phases as channels, with the border that a reflecting convolution is to see.

    `PhaseConv` lays out rows -1 to 2h of the large map, two to a cell, and cuts the first and the last off. A
    reflecting convolution wants row 1 in the place of row -1, and row 2h-2 in that of row 2h: these are the same phase
    of the next cell inwards, so the first phase has its second cell twice, and the second its last but one.
    """

    def __init__(self, phases: PhaseConv) -> None:
        super().__init__()
        inputs, window = phases.weight.shape[1], phases.weight.shape[2:]
        self.outputs = len(phases.weight) // 4
        by_phase = phases.weight.detach().view(self.outputs, 4, inputs, *window).transpose(0, 1)
        self.weight = nn.Parameter(by_phase.flatten(0, 1).contiguous())
        self.bias = nn.Parameter(phases.bias.detach().view(self.outputs, 4).T.flatten().contiguous())
        self.relu = phases.relu

    def forward(self, features: Tensor) -> Tensor:
        """[N, inputs, h, w] to [N, 4 outputs, h+1, w+1], phase after phase."""
        cells = functional.conv2d(functional.pad(features, (1, 1, 1, 1), mode="replicate"), self.weight, self.bias)
        if self.relu:
            cells = functional.relu(cells)
        bordered = []
        for (row, column), phase in zip(_PHASES, torch.split(cells, self.outputs, 1), strict=True):
            inner = phase[:, :, 1:] if row == 0 else phase[:, :, :-1]
            inner = inner[:, :, :, 1:] if column == 0 else inner[:, :, :, :-1]
            bordered.append(functional.pad(inner, (1 - column, column, 1 - row, row), mode="replicate"))
        return torch.cat(bordered, 1)


class CellConv(nn.Module):
    """The 3x3 convolution of a map that comes as `PhaseCells` gives it: 2x2 cells hold all that a cell's pixels see."""

    def __init__(self, conv: PaddedConv) -> None:
        super().__init__()
        outputs, inputs = conv.weight.shape[:2]
        with torch.no_grad():
            kernels = conv.weight.new_zeros(outputs, 2, 2, 2, 2, inputs, 2, 2)  # out, its phase, phase, in, cell
            for row_out, column_out in _PHASES:
                for row in range(3):
                    for column in range(3):
                        down, y = divmod(row_out + row, 2)
                        across, x = divmod(column_out + column, 2)
                        kernels[:, row_out, column_out, y, x, :, down, across] = conv.weight[:, :, row, column]
            bias = torch.zeros(outputs) if conv.bias is None else conv.bias
            self.weight = nn.Parameter(kernels.reshape(4 * outputs, 4 * inputs, 2, 2))
            self.bias = nn.Parameter(bias.repeat_interleave(4))
        self.relu = conv.relu

    def forward(self, cells: Tensor) -> Tensor:
        """[N, 4 inputs, h+1, w+1] to [N, outputs, 2h, 2w]."""
        phases = functional.conv2d(cells, self.weight, self.bias)
        if self.relu:
            phases = functional.relu(phases)
        return functional.pixel_shuffle(phases, 2)


def rewrite(network: Network) -> bool:
    """Put `PhaseCells` and a `CellConv` in the place of a decoder's last two convolutions, in place.

    Where the first of them is a `PhaseConv` by now and the second pads by reflection.

    Returns:
        whether they were.
    """
    decoder = network.decoder
    if len(decoder.steps) < 2:
        return False
    before, last = decoder.steps[-2:]
    phases, conv = decoder.get_submodule(before), decoder.get_submodule(last)
    if not isinstance(phases, PhaseConv) or not isinstance(conv, PaddedConv) or conv.border != "reflect":
        return False
    decoder.splice([before], before, PhaseCells(phases))
    decoder.splice([last], last, CellConv(conv))
    return True
