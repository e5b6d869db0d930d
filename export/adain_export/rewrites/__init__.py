"""Exact rewrites: each computes what the network computes, with fewer operations, and has an equality test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from adain_export.rewrites import fold_color, phase, phase_last
from adain_export.target import REWRITES
from adain_model.network import Network

_REWRITES: Mapping[str, Callable[[Network], bool]] = {
    "fold-color": fold_color.rewrite,
    "phase": phase.rewrite,
    "phase-last": phase_last.rewrite,
}


def apply(network: Network, names: Sequence[str]) -> tuple[str, ...]:
    """Apply rewrites by name to a network, in place and in the order of ``REWRITES``.

    Returns:
        the names of those that found something to change.
    """
    return tuple(name for name in REWRITES if name in names and _REWRITES[name](network))
