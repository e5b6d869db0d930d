"""Do the ONNX parts of bundles build with TensorRT for RTX? No GPU is needed: engines are for GPUs elsewhere.

    pip install 'adain-edge[trt-rtx]'
    python benchmarks/rtx_build.py BUNDLE... [--capability 8.6,8.9,12.0]

Every part of every bundle is parsed as a strongly typed network and built for images of 64 to 512 pixels. What is
proved is that TensorRT's parser and builder take the files, not that an engine runs: none is loaded, and nothing is
timed. Prints a line a part, writes benchmarks/results/rtx_build.json, and exits with 1 where a part is refused.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from adain_runtime.trt.builder import build_engine
from adain_runtime.trt.library import load_library
from adain_runtime.trt.options import RTX_CAPABILITIES, BuildError, Options, Profile

RESULT = Path(__file__).parent / "results" / "rtx_build.json"
PROFILE = Profile((64, 64), (256, 256), (512, 512))


def main() -> None:
    """Build, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE")
    parser.add_argument("--capability", default=",".join(RTX_CAPABILITIES))
    options = parser.parse_args()
    capabilities = options.capability.split(",")
    rows = []
    for bundle in options.bundles:
        manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
        for part, content in manifest["parts"].items():
            row = {
                "bundle": bundle.name,
                "weights_sha256": manifest["weights_sha256"][:16],
                "part": part,
                "onnx_sha256": manifest["files"][content["file"]]["sha256"][:16],
            }
            rows.append(row | build(bundle / content["file"], content["inputs"], capabilities))
            print(*(f"{name} {value}" for name, value in rows[-1].items()), sep=", ", flush=True)
    result = {
        "command": "python benchmarks/rtx_build.py BUNDLE...",
        "tensorrt_rtx": version("tensorrt-rtx-cu13-bindings"),
        "capabilities": capabilities,
        "rows": rows,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.exit(any(row["engine_bytes"] is None for row in rows))


def build(path: Path, inputs: Sequence[Mapping[str, Any]], capabilities: Sequence[str]) -> dict[str, Any]:
    """One part: bytes of its engine, or what was said against it."""
    options = Options(PROFILE, "rtx", compute_capabilities=tuple(capabilities))
    shapes = {tensor["name"]: PROFILE.shapes(tensor["shape"]) for tensor in inputs}
    try:
        built = build_engine(load_library("rtx"), path, shapes, options)
    except BuildError as error:
        return {"engine_bytes": None, "said": str(error)}
    return {"engine_bytes": len(built.engine)}


if __name__ == "__main__":
    main()
