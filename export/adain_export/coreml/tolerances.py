"""What each way to store a Core ML package may differ from float32 torch by."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from adain_export.check import Tolerance
from adain_export.coreml.request import CoremlRequest

# An export is checked on noise with the spectrum of photographs. The embedded student on two pairs of photos at 128x128
# (benchmarks/coreml_sizes.py) has 42.4, 26.7 and 16.5 dB with palettes of 8, 6 and 4 bits and 36.9
# in W8A8, where the check's noise has 46.4, 32.4, 23.7 (palettes) and 37.0 (W8A8): stored weights cost photos up to
# 7 dB more than they cost noise. So that no photo falls far below 30 dB, noise must keep 36 there.
TOLERANCES: Mapping[str, Tolerance] = {
    "fp32": Tolerance(max_abs=1e-4, psnr=80.0, relative=1e-4),
    "fp32 in 8 bits": Tolerance(max_abs=0.004, psnr=70.0, relative=1e-4),
    "fp16": Tolerance(max_abs=0.15, psnr=40.0, relative=2e-2),
    "w8": Tolerance(max_abs=0.5, psnr=36.0, relative=0.2),
    "pal8": Tolerance(max_abs=0.5, psnr=36.0, relative=0.2),
    "pal6": Tolerance(max_abs=0.5, psnr=36.0, relative=0.3),
    "pal4": Tolerance(max_abs=0.8, psnr=36.0, relative=0.6),
    "w8a8": Tolerance(max_abs=0.5, psnr=33.0, relative=0.3),
}
ANY = Tolerance(max_abs=inf, psnr=-inf, relative=inf)


def tolerance_of(request: CoremlRequest) -> Tolerance:
    """The tolerance of a request: that of how its weights are stored, else of its precision."""
    if request.allow_low_quality:
        return ANY
    if request.label == "fp32" and request.io == "image":
        return TOLERANCES["fp32 in 8 bits"]
    return TOLERANCES[request.label.rpartition("-")[2]]
