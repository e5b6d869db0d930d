"""What a Core ML package may differ from float32 torch by: the limits of its label, unless the request waives them."""

from __future__ import annotations

from adain_export.coreml.request import CoremlRequest
from adain_export.tolerances import UNLIMITED, Limits, coreml_label, limits_of


def limits_for(request: CoremlRequest) -> Limits:
    """The limits of how a request's weights are stored, else of its precision and images."""
    if request.allow_low_quality:
        return UNLIMITED
    return limits_of("coreml", coreml_label(request.label, request.io))
