"""A build kit: all that makes TensorRT engines where there is a GPU, as a bundle that can be verified and run."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from adain_export.targets.onnx import onnx_manifest, onnxruntime_parity
from adain_runtime.bundle import MANIFEST, Bundle, describe_files
from adain_runtime.trt.amalgam import standalone_builder
from adain_runtime.trt.build import OPTIONS_FILE
from adain_runtime.trt.golden import FILE as GOLDEN
from adain_runtime.trt.options import Options, Profile

if TYPE_CHECKING:
    from adain_export.target import Request
    from adain_model.network import Network
    from adain_runtime.manifest import Manifest

TARGET = "trt-kit"
_README = Path(__file__).with_name("trt_kit_readme.md")


def write_kit(folder: Path, network: Network, request: Request, options: Options) -> Bundle:
    """Fill an empty folder: ONNX, manifest, builders, golden inputs and outputs, and what to know on a Jetson.

    Raises:
        InputError: a graph that TensorRT doesn't take.
        QualityError: a graph that differs from PyTorch by more than its precision allows.
    """
    from adain_export.onnx_parts import onnx_parts
    from adain_export.shared_weights import save_sharing
    from adain_export.trt_lint import require_clean

    made = onnx_parts(network, request)
    for part, model in made.models.items():
        require_clean(part, model)
    save_sharing(made.models, folder)
    manifest = onnx_manifest(network, request, made, TARGET)
    (folder / OPTIONS_FILE).write_text(json.dumps(options.to_json(), indent=2) + "\n", encoding="utf-8")
    _write_script(folder / "build.py", standalone_builder())
    _write_script(folder / "build.sh", trtexec_script(manifest, options))
    _write_golden(folder / GOLDEN, network, request, options.profile)
    readme = _README.read_text(encoding="utf-8")
    names = {"name": manifest.folder_name, "engines": f"{manifest.name}-trt-{manifest.precision}"}
    readme = readme.format(**names, profile=options.profile)
    (folder / "README.md").write_text(readme, encoding="utf-8")
    manifest = replace(manifest, files=describe_files(folder))
    manifest = replace(manifest, parity=onnxruntime_parity(Bundle(folder, manifest), network, request))
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return Bundle(folder, manifest)


def trtexec_script(manifest: Manifest, options: Options) -> str:
    """``build.sh``: the same engines by NVIDIA's own trtexec, for applications that load engines themselves."""
    lines = [
        "#!/bin/sh",
        "# Engines by trtexec, for an application that loads them itself; adain-run wants those of build.py, which say",
        "# what they are for. trtexec is part of TensorRT; on a Jetson it is in /usr/src/tensorrt/bin.",
        "set -eu",
        'cd "$(dirname "$0")"',
        "trtexec=${TRTEXEC:-$(command -v trtexec || echo /usr/src/tensorrt/bin/trtexec)}",
        '[ -x "$trtexec" ] || {',
        '    echo "build.sh: no trtexec here; name it: TRTEXEC=/path/to/trtexec sh build.sh" >&2',
        "    exit 3",
        "}",
        "# TensorRT 11 has no other typing, and may no longer know the flag",
        'typed=$("$trtexec" --help 2>&1 | grep -o -m 1 -e "--stronglyTyped" || true)',
        f"out=${{1:-../{manifest.name}-engines-{manifest.precision}}}",
        'mkdir -p "$out"',
    ]
    flags = "".join(f" {flag}" for flag in _trtexec_flags(options))
    for name, part in manifest.parts.items():
        shapes = {tensor.name: options.profile.shapes(tensor.shape) for tensor in part.inputs}
        spelt = " ".join(
            f"--{which}Shapes=" + ",".join(f"{tensor}:{'x'.join(map(str, of[place]))}" for tensor, of in shapes.items())
            for place, which in enumerate(("min", "opt", "max"))
        )
        lines.append(
            f'"$trtexec" --onnx={part.file} ${{typed:+"$typed"}} {spelt} --saveEngine="$out/{name}.engine"{flags}'
        )
    return "\n".join([*lines, 'echo "wrote $out"', ""])


def _trtexec_flags(options: Options) -> list[str]:
    flags = ["--skipInference", "--noTF32"]
    if options.workspace is not None:
        flags.append(f"--memPoolSize=workspace:{options.workspace / 2**20:g}M")
    if options.opt_level is not None:
        flags.append(f"--builderOptimizationLevel={options.opt_level}")
    if options.hw_compat:
        flags.append("--hardwareCompatibilityLevel=ampere+")
    if options.version_compatible:
        flags.append("--versionCompatible")
    return flags


def _write_script(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def _write_golden(path: Path, network: Network, request: Request, profile: Profile) -> None:
    """Small pictures within the profile, not square where it allows that, and what float32 torch makes of them."""
    from adain_export.check import in_torch, part_feeds
    from adain_export.tolerances import limits_of
    from adain_runtime.trt.golden import save_golden

    height = profile.min[0]
    width = min(profile.min[1] + network.spec.stride, profile.max[1])
    cases = {}
    for part in request.parts:
        feeds = part_feeds(part, network, profile.batch[0], height, width)
        cases[part] = feeds, in_torch(part, network, feeds)
    save_golden(path, cases, limits_of("trt", request.label).least_psnr)
