"""Runs exported style transfer networks on any backend, without torch.

import adain_runtime as adain

stylizer = adain.Stylizer.open("lite")
wave = stylizer.style("wave.jpg")
stylizer("photo.jpg", wave, alpha=0.8).save("out.jpg")
"""

from adain_runtime.backend import Backend, Options, Probe, Session, backend_names, get_backend, open_bundle
from adain_runtime.bundle import Bundle
from adain_runtime.errors import AdainError, BundleError, InputError, QualityError, UnavailableError
from adain_runtime.manifest import Manifest
from adain_runtime.spec import NetworkSpec
from adain_runtime.style import Style, mix
from adain_runtime.stylizer import Stylizer

__all__ = [
    "AdainError",
    "Backend",
    "Bundle",
    "BundleError",
    "InputError",
    "Manifest",
    "NetworkSpec",
    "Options",
    "Probe",
    "QualityError",
    "Session",
    "Style",
    "Stylizer",
    "UnavailableError",
    "backend_names",
    "get_backend",
    "mix",
    "open_bundle",
]
