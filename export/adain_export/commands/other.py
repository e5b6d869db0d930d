"""``adain-export NAME`` for the targets that other packages bring."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from adain_export.commands import shared
from adain_export.target import Request
from adain_runtime.backend import backend_names
from adain_runtime.cli import console


def command_of(target_name: str) -> Callable[..., None]:
    """The command of a target that is known by its name alone: with what every ``Request`` says."""

    def export(
        checkpoint: shared.Checkpoint = None,
        output: shared.Output = Path(),
        fp16: shared.Fp16 = False,
        int8: shared.AsInt8 = False,
        calibration: shared.CalibrationFile = None,
        placement: shared.PlacementName = shared.AFTER_PAD,
        parts: shared.Parts = shared.ALL_PARTS,
        rewrites: shared.Rewrites = None,
        name: shared.Name = None,
        as_json: console.AsJson = False,
        _verbose: console.Verbose = False,
    ) -> None:
        target, network = shared.begin(target_name, checkpoint)
        request = Request(
            name=network.spec.name if name is None else name,
            precision="fp16" if fp16 else "fp32",
            parts=shared.split(parts),
            rewrites=shared.rewrites_of(rewrites, int8=int8),
            int8=shared.int8_of(network, int8, calibration, placement),
        )
        bundle = target.export(network, request, output)
        runs = shared.run_command(bundle.path, target_name) if target_name in backend_names() else ""
        shared.show_export(bundle, as_json, runs)

    export.__doc__ = f"Write a bundle by the target {target_name}, which another package brings."
    return export
