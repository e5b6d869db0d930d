"""What a Core ML package may differ from float32 torch by: the limits of its label, unless the request waives them."""

from __future__ import annotations

from adain_export.coreml.request import CoremlRequest
from adain_export.tolerances import UNLIMITED, Limits, limits_of


def limits_for(request: CoremlRequest) -> Limits:
    """The limits of how a request's weights are stored, else of its precision; 8-bit images round in float32 too."""
    if request.allow_low_quality:
        return UNLIMITED
    eight_bits = request.label == "fp32" and request.io == "image"
    return limits_of("coreml", "fp32-8bits" if eight_bits else request.label)
