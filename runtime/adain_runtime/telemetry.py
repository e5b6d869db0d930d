"""ONNX Runtime's wheels report to their maker what is run, and keep an identifier of the machine in its cache."""

from __future__ import annotations

import os

_OPT_OUT = "ORT_DISABLE_TELEMETRY"


def opt_out() -> None:
    """Keep it from that; to be called before onnxruntime is first imported. What the person has set stays."""
    os.environ.setdefault(_OPT_OUT, "1")
