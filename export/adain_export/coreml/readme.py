"""README.md of a Core ML bundle, for the developer of an app."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adain_export.coreml.request import MACS, CoremlRequest, Plan, spell

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from adain_model.network import Network
    from adain_runtime.manifest import Part

FILE = "README.md"


def readme(network: Network, request: CoremlRequest, plan: Plan, parts: Mapping[str, Part], folder: Path) -> str:
    """The text for packages that lie in ``folder``."""
    sizes = _sizes(plan, network.spec.stride)
    files = dict.fromkeys(part.file for part in parts.values())
    rows = [f"| `{file}` | {_megabytes(folder / file):.1f} | {_holds(file, parts)} |" for file in files]
    sections = [
        f"# {request.name}: AdaIN style transfer for Core ML\n",
        f"Runs on {plan.system} and {MACS[plan.system]} or later. {sizes} Sizes are height x width.\n",
        "| package | MB | holds |\n|---|---|---|\n" + "\n".join(rows) + "\n",
        _memory(network, request, plan),
        _calls(network, request),
        _swift(network, request, plan, parts) if {"encoder", "stylizer"} <= set(parts) else "",
    ]
    return "\n".join(section for section in sections if section)


def _megabytes(package: Path) -> float:
    return sum(file.stat().st_size for file in package.rglob("*") if file.is_file()) / 1e6


def _holds(file: str, parts: Mapping[str, Part]) -> str:
    names = [f"`{function.name}`" for part in parts.values() if part.file == file for function in part.functions]
    return "the functions " + ", ".join(names) if names else next(n for n, part in parts.items() if part.file == file)


def _sizes(plan: Plan, stride: int) -> str:
    if plan.shapes == "range":
        low, high = plan.bounds
        return (
            f"Pictures have sides from {low} to {high}, both multiples of {stride}: Core ML can't say the latter, and "
            f"another size gives a picture that is cut or padded. The Neural Engine runs {spell(plan.default)} only."
        )
    sizes = ", ".join(map(spell, plan.sizes))
    return f"Pictures are {sizes} pixels: scale or pad yours to that."


def _memory(network: Network, request: CoremlRequest, plan: Plan) -> str:
    height, width = max(plan.sizes, key=lambda size: size[0] * size[1])
    widest = max(network.spec.encoder[0][0], network.spec.decoder[-1][0]) * height * width
    bytes_each = 2 if request.precision == "fp16" else 4
    return (
        f"Memory to expect beside the weights: the widest maps at {spell((height, width))} have {widest:,} numbers of "
        f"{bytes_each} bytes, and two or three of them are alive at once, about {3 * widest * bytes_each / 1e6:.0f} MB "
        "(computed from the network, not measured on a device).\n"
    )


def _calls(network: Network, request: CoremlRequest) -> str:
    low, high = network.spec.alpha_range
    channels = network.spec.channels
    image = (
        "pixel buffers (kCVPixelFormatType_32BGRA or 32ARGB) of the exact size"
        if request.io == "image"
        else "a Float32 MLMultiArray [1, 3, height, width], RGB in [0, 1]"
    )
    return (
        f"The encoder turns a style image into `mean` and `std`, {channels} numbers each: make them once, keep them. "
        "A mix of styles is the weighted mean of their numbers. The stylizer takes a photo, `mean`, `std` and `alpha`, "
        f"from {low:g} (the photo, redrawn) to {high:g} (all style).\n\nImages are {image}. `manifest.json` lists all "
        "inputs, outputs and files with their SHA-256.\n"
    )


def _swift(network: Network, request: CoremlRequest, plan: Plan, parts: Mapping[str, Part]) -> str:
    names = {part: parts[part].file.removesuffix(".mlpackage") for part in ("encoder", "stylizer")}
    loads = {part: _load(names[part], parts[part], plan) for part in names}
    channels = network.spec.channels
    height, width = plan.default
    picture, value, result = (
        ("CVPixelBuffer", "MLFeatureValue(pixelBuffer: {})", "imageBufferValue")
        if request.io == "image"
        else ("MLMultiArray", "MLFeatureValue(multiArray: {})", "multiArrayValue")
    )
    return f"""## Swift

This was written against Apple's documentation and has not been compiled: there was no Mac where it was made.

```swift
import CoreML
import CoreVideo

struct Style {{ let mean: MLMultiArray; let std: MLMultiArray }}   // [1, {channels}, 1, 1] each

enum StylizerError: Error {{ case resourceMissing(String), outputMissing(String) }}

final class Stylizer {{
    private let encoder: MLModel
    private let stylizer: MLModel

    init() throws {{
        func load(_ name: String, _ function: String?) throws -> MLModel {{
            guard let url = Bundle.main.url(forResource: name, withExtension: "mlmodelc") else {{
                throw StylizerError.resourceMissing(name)
            }}
            let configuration = MLModelConfiguration()
            configuration.computeUnits = .all
            {_function_line(plan)}
            return try MLModel(contentsOf: url, configuration: configuration)
        }}
        encoder = {loads["encoder"]}
        stylizer = {loads["stylizer"]}
    }}

    /// `image` is {height}x{width} (height x width). Make a style once and keep it.
    func style(of image: {picture}) throws -> Style {{
        let input = try MLDictionaryFeatureProvider(dictionary: ["image": {value.format("image")}])
        let output = try encoder.prediction(from: input)
        guard let mean = output.featureValue(for: "mean")?.multiArrayValue,
              let std = output.featureValue(for: "std")?.multiArrayValue else {{
            throw StylizerError.outputMissing("mean, std")
        }}
        return Style(mean: mean, std: std)
    }}

    /// `alpha` runs from {network.spec.alpha_range[0]:g} to {network.spec.alpha_range[1]:g}.
    func stylize(_ image: {picture}, _ style: Style, alpha: Float = 1) throws -> {picture} {{
        let tradeOff = try MLMultiArray(shape: [1, 1, 1, 1], dataType: .float32)
        tradeOff[0] = NSNumber(value: alpha)
        let input = try MLDictionaryFeatureProvider(dictionary: [
            "image": {value.format("image")},
            "mean": MLFeatureValue(multiArray: style.mean),
            "std": MLFeatureValue(multiArray: style.std),
            "alpha": MLFeatureValue(multiArray: tradeOff),
        ])
        guard let picture = try stylizer.prediction(from: input).featureValue(for: "stylized")?.{result} else {{
            throw StylizerError.outputMissing("stylized")
        }}
        return picture
    }}
}}
```
"""


def _load(name: str, interface: Part, plan: Plan) -> str:
    function = next((f'"{f.name}"' for f in interface.functions if (f.height, f.width) == plan.default), "nil")
    return f'try load("{name}", {function})'


def _function_line(plan: Plan) -> str:
    if plan.multifunction:
        return "configuration.functionName = function   // iOS 18 and later"
    return "precondition(function == nil)   // this package has one function"
