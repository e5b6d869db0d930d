"""What can go wrong, as one small family: every message names the thing, what was wanted, and the fix."""

from __future__ import annotations

from typing import ClassVar


class AdainError(Exception):
    """Base of every error that this distribution raises on purpose.

    Attributes:
        exit_code: what a command exits with when the error reaches it (DESIGN: 1 quality, 2 input, 3 unavailable).
    """

    exit_code: ClassVar[int] = 2


class QualityError(AdainError):
    """A result was made, and it is not good enough: parity, PSNR or finiteness is not met."""

    exit_code = 1


class InputError(AdainError):
    """Bad usage or input: a file, an option or an array that can't be taken as it is."""


class BundleError(InputError):
    """A bundle that is damaged, of a newer schema, or not what its manifest says."""


class UnavailableError(AdainError):
    """A backend, a target or a tool is not available on this machine; the message has the line that installs it."""

    exit_code = 3
