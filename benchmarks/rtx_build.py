"""Do the ONNX parts of bundles build with TensorRT for RTX? No GPU is needed: engines are for GPUs elsewhere.

    pip install tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings
    python benchmarks/rtx_build.py BUNDLE... [--capability SM86,SM89,SM120]

Every part of every bundle is parsed as a strongly typed network and built for images of 64 to 512 pixels. What is
proved is that TensorRT's parser and builder take the files, not that an engine runs: none is loaded. Prints a table,
writes benchmarks/results/rtx_build.json, and exits with 1 where a part is refused.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "rtx_build.json"
IMAGE, FEATURES = (64, 256, 512), (8, 32, 64)  # least, usual and largest side


def main() -> None:
    """Build, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE")
    parser.add_argument("--capability", default="SM86,SM89,SM120")
    options = parser.parse_args()
    capabilities = options.capability.split(",")
    rows = [
        {"bundle": bundle.name, "part": part} | build(bundle / content["file"], capabilities)
        for bundle in options.bundles
        for part, content in json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))["parts"].items()
    ]
    for row in rows:
        print(*(f"{name} {value}" for name, value in row.items()), sep=", ")
    result = {
        "command": "python benchmarks/rtx_build.py BUNDLE...",
        "tensorrt_rtx": version("tensorrt-rtx-cu13-bindings"),
        "capabilities": capabilities,
        "rows": rows,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.exit(any(row["engine_bytes"] is None for row in rows))


def build(path: Path, capabilities: list[str]) -> dict[str, Any]:
    """One part: layers, bytes and seconds of its engine, or what was said against it."""
    import tensorrt_rtx_bindings as trt

    said: list[str] = []

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:  # noqa: ANN401
            if severity <= trt.ILogger.Severity.ERROR:
                said.append(message.splitlines()[0][:300])

    log, began = Log(), time.monotonic()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)  # the network has to outlive it
    if not parser.parse_from_file(str(path)):
        said += [parser.get_error(place).desc() for place in range(parser.num_errors)]
        return {"engine_bytes": None, "said": said}
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    for place in range(network.num_inputs):
        tensor = network.get_input(place)
        sides = IMAGE if tensor.shape[1] == 3 else FEATURES
        profile.set_shape(tensor.name, *(shape(tuple(tensor.shape), side) for side in sides))
    config.add_optimization_profile(profile)
    config.num_compute_capabilities = len(capabilities)
    for place, name in enumerate(capabilities):
        config.set_compute_capability(getattr(trt.ComputeCapability, name), place)
    plan = builder.build_serialized_network(network, config)
    seconds = round(time.monotonic() - began, 1)
    return (
        {"layers": network.num_layers, "engine_bytes": plan.nbytes, "seconds": seconds}
        if plan is not None
        else {
            "engine_bytes": None,
            "said": said,
        }
    )


def shape(known: tuple[int, ...], side: int) -> tuple[int, ...]:
    """A shape with what is open filled in: one image, and ``side`` cells each way."""
    return tuple(size if size > 0 else 1 if place == 0 else side for place, size in enumerate(known))


if __name__ == "__main__":
    main()
