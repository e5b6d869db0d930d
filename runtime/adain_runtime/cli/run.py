"""``adain-run``: stylise a photo, a folder or a glob with any bundle on any backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Annotated, NoReturn, Optional, cast

import typer

from adain_runtime.backend import backend_names, get_backend
from adain_runtime.bundle import embedded_bundles
from adain_runtime.cli import console
from adain_runtime.cli.bars import Bars
from adain_runtime.errors import InputError
from adain_runtime.image import Photo, load_mask
from adain_runtime.jobs import AT_ONCE, AtOnce, Done, Failed, find_contents, plan, run_jobs, spell_kinds
from adain_runtime.style import SUFFIX
from adain_runtime.stylizer import EMBEDDED_MODEL, MAX_PIXELS, STYLE_SIZE, PreserveColor, Stylizer
from adain_runtime.tiling import Tiling, parse_tiling

EXAMPLES = console.examples(
    ("adain-run photo.jpg wave.jpg", "writes photo-wave.jpg"),
    ("adain-run photo.jpg wave.jpg --alpha 0.6", "keeps some of the photo"),
    ("adain-run photo.jpg wave.jpg sun.jpg --weights 2,1", "a mix of two styles"),
    ("adain-run photo.jpg wave.jpg sun.jpg --mask sky.png", "wave where it is white"),
    ('adain-run "trip/*.jpg" wave.adainstyle -o painted', "many, a saved style"),
    ("adain-run photo.jpg wave.jpg --model vgg19-onnx-fp16", "a bundle of your own"),
)

app = console.new_app("Stylise pictures.")


def main() -> NoReturn:
    """Entry point."""
    console.run(app, "adain-run")


def _embedded() -> str:
    return ", ".join(sorted({name.split("-")[0] for name in embedded_bundles()}))


@app.command(epilog=EXAMPLES, no_args_is_help=True)  # a single command shows its own epilog, not the application's
def run(
    content: Annotated[
        Optional[str],  # noqa: UP045 Typer reads this at run time on Python 3.10
        typer.Argument(help="A photo, a folder of photos, or a quoted glob.", show_default=False),
    ] = None,
    styles: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="STYLE...", help="Images or .adainstyle files.", show_default=False),
    ] = None,
    output: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--output",
            "-o",
            help="File, or folder for many. Default: CONTENT-STYLE, or stylized for many.",
        ),
    ] = None,
    model: Annotated[str, typer.Option(help=f"Bundle folder, or an embedded model ({_embedded()}).")] = EMBEDDED_MODEL,
    backend: Annotated[str, typer.Option(help="What runs it; see --list-backends.")] = "onnx",
    provider: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--provider",
            "--compute-units",
            help="The backend's device, such as cuda; Core ML: all, cpu, cpu-gpu or cpu-ane. Default: its usual one.",
            show_default=False,
        ),
    ] = None,
    allow_fallback: Annotated[
        bool, typer.Option("--allow-fallback", help="Run elsewhere where that device doesn't come up.")
    ] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Build engines for this GPU where needed, and keep them (backend trt).")
    ] = False,
    threads: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="CPU threads. Default: the backend's choice.", show_default=False),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="All of float32, where the backend has a faster way that loses some (mnn).")
    ] = False,
    alpha: Annotated[float, typer.Option(help="1 is all style, 0 the photo as the network redraws it.")] = 1.0,
    weights: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="W,W,...", help="How much of each style. Default: all alike.", show_default=False),
    ] = None,
    mask: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            metavar="IMAGE",
            help="Where a style goes (white), in the styles' order; one may be left out for the last style, "
            "which takes what is left. What no mask covers stays the photo.",
            show_default=False,
        ),
    ] = None,
    preserve_color: Annotated[
        str,
        typer.Option(
            metavar="none|luminance|match",
            help="Keep the photo's colours: take over brightness only, or recolour the style first.",
        ),
    ] = "none",
    size: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Resize the photo to this shorter side. Default: as it is.", show_default=False),
    ] = None,
    style_size: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            min=1,
            help=f"Larger styles are resized to this shorter side; sets the stroke scale. Default: {STYLE_SIZE}.",
            show_default=False,
        ),
    ] = None,
    max_pixels: Annotated[int, typer.Option(min=1, help="Refuse larger images.")] = MAX_PIXELS,
    tile: Annotated[
        str,
        typer.Option(
            metavar="auto|off|N",
            help="Compute large photos in tiles of at most N pixels a side: the same picture in bounded memory.",
        ),
    ] = "auto",
    batch: Annotated[int, typer.Option(min=1, help="Photos of one size run together.")] = 1,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of JPEG and WebP files.")] = 95,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Encode styles anew, and keep none on disk.")] = False,
    list_backends: Annotated[
        bool, typer.Option("--list-backends", help="Show what can run here, and why not, and exit.")
    ] = False,
    as_json: console.AsJson = False,
    _verbose: console.Verbose = False,
    _version: console.Version = False,
) -> int:
    """Stylise a photo, a folder or a glob after one painting or a mix of several."""
    if list_backends:
        _list_backends(as_json)
        return 0
    if content is None or not styles:
        raise typer.BadParameter("give a CONTENT and at least one STYLE")
    if "" in (content, model, output, *styles, *(mask or ())):
        raise InputError("an argument is empty, such as an unset shell variable; name a file or a folder")
    shares, tiling = parse_weights(weights), parse_tiling(tile)
    masks = mask or []
    batch = 1 if masks else batch  # a mask is fitted to each photo's size
    check_style_size(style_size, styles)
    contents, many, passed_over = find_contents(content)
    keep = [Path(name) for name in (*styles, *masks)]
    jobs = plan(contents, many=many, label=_label(styles), output=output, keep=keep)
    if passed_over:
        console.say(f"adain-run: {spell_kinds(passed_over)} can't be read here and are passed over: convert them first")
    bars, clock = Bars(len(jobs)), perf_counter()
    with Stylizer.open(
        model,
        backend=backend,
        threads=threads,
        provider=provider,
        allow_fallback=allow_fallback,
        rebuild=rebuild,
        exact=exact,
        cache=not no_cache,
        tell=lambda line: console.say(f"adain-run: {line}"),
    ) as stylizer:
        stylizer.check(len(styles), shares, alpha, preserve_color, batch, masks=len(masks), tile=tiling)
        color = cast(PreserveColor, preserve_color)
        prepared = [
            stylizer.prepare(style, preserve_color=color, size=style_size or STYLE_SIZE, max_pixels=max_pixels)
            for style in styles
        ]

        for image in masks:  # a mask that can't be read is found before the first photo, not at each
            load_mask(image, size=(1, 1), max_pixels=max_pixels)

        def stylize(on: Stylizer, photos: list[Photo]) -> list[Photo]:
            height, width = photos[0].rgb.shape[:2]
            return on.stylize(
                photos,
                prepared,
                weights=shares,
                alpha=alpha,
                masks=[load_mask(image, size=(height, width), max_pixels=max_pixels) for image in masks],
                preserve_color=color,
                batch_size=batch,
                tile=tiling,
                progress=bars.tile,
            )

        ready = perf_counter() - clock
        with bars, ExitStack() as stack:
            shared = stylizer.shared(AT_ONCE) if len(jobs) > 1 and batch == 1 else None
            alone, at_once = _ways(stylizer, shared and stack.enter_context(shared), stylize, tiling)
            results = run_jobs(
                jobs,
                alone,
                batch_size=batch,
                size=size,
                max_pixels=max_pixels,
                quality=quality,
                at_once=at_once,
                admit=stylizer.check_whole if tiling == "off" and size is None else None,
            )
            done, failed = _follow(results, bars, len(jobs))
        for result in done:
            if result.flattened:
                console.say(f"{result.job.output}: its format keeps no transparency, so it was put on white")
            if result.first:
                console.say(f"{result.job.content}: it holds more than one picture, and the first was stylised")
        seconds = perf_counter() - clock - ready
        folder_name, device = stylizer.session.bundle.manifest.folder_name, stylizer.session.device
    if as_json:
        passed = {"passed_over": list(map(str, passed_over))}
        console.print_json(_report(done, failed, folder_name, backend, device, ready, seconds) | passed)
    if failed and not many:
        raise failed[0].error
    if not as_json:
        mixed = f", {len(styles)} styles mixed" if len(styles) > 1 and not masks else ""
        _summarise(done, failed, f"{folder_name} on {device}{mixed}", ready, seconds)
    return max((result.error.exit_code for result in failed), default=0)


def check_style_size(style_size: int | None, styles: Sequence[str]) -> None:
    """Refuse a size for styles that all have it behind them.

    Raises:
        InputError: a size, and no image among the styles.
    """
    if style_size is not None and all(style.endswith(SUFFIX) for style in styles):
        raise InputError("--style-size is about images, and a saved style has its size behind it: leave it out")


def parse_weights(text: str | None) -> tuple[float, ...] | None:
    """``2,1`` as numbers.

    Raises:
        InputError: something that is no number.
    """
    try:
        return None if text is None else tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"--weights {text}: wants numbers with commas between, such as 2,1") from error


def _ways(
    stylizer: Stylizer,
    shared: Stylizer | None,
    stylize: Callable[[Stylizer, list[Photo]], list[Photo]],
    tile: Tiling,
) -> tuple[Callable[[list[Photo]], list[Photo]], AtOnce | None]:
    """How photos are stylised with all cores, and beside each other where ``shared`` is there for that.

    The graphs of the one give their memory back before the other's take theirs.
    """
    if shared is None:
        return partial(stylize, stylizer), None

    def alone(photos: list[Photo]) -> list[Photo]:
        shared.release()
        return stylize(stylizer, photos)

    def beside(photos: list[Photo]) -> list[Photo]:
        stylizer.release()
        return stylize(shared, photos)

    return alone, AtOnce(beside, lambda photo: stylizer.whole_at_once(photo.height, photo.width, AT_ONCE, tile))


def _label(styles: Sequence[str]) -> str:
    """What a content's name gets: the styles' own names, kept short."""
    return "+".join(Path(style).stem for style in styles)[:80]  # default_name cuts it to a file system's bytes


def _follow(results: Iterator[Done | Failed], bars: Bars, total: int) -> tuple[list[Done], list[Failed]]:
    """Take the results as they come.

    Raises:
        Stopped: Ctrl-C.
    """
    done: list[Done] = []
    failed: list[Failed] = []
    try:
        for result in results:
            if isinstance(result, Done):
                done.append(result)
            else:
                failed.append(result)
            bars.picture(len(done) + len(failed))
    except KeyboardInterrupt as error:
        raise console.Stopped(f"stopped; {len(done)} of {total} pictures are done and stay") from error
    return done, failed


def _summarise(done: Sequence[Done], failed: Sequence[Failed], where: str, ready: float, seconds: float) -> None:
    for result in failed:
        name, why = str(result.job.content), " ".join(str(result.error).split())
        console.say(f"adain-run: {why if name in why else f'{name}: {why}'}")
    if len(done) == 1:
        size = f"{done[0].width}x{done[0].height}"
        took = f"{done[0].seconds:.2f} s after {ready:.2f} s to get ready"
        print(console.plain(f"wrote {done[0].job.output} ({size}, {where}, {took})"))
    elif done:
        folder = done[0].job.output.parent
        took = f"{seconds:.1f} s, {seconds / len(done):.2f} s each"
        print(console.plain(f"wrote {len(done)} pictures to {folder} ({where}, {took})"))
    if failed:
        console.say(f"adain-run: {len(failed)} of {len(failed) + len(done)} pictures failed, as said above")


def _report(
    done: Sequence[Done], failed: Sequence[Failed], model: str, backend: str, device: str, ready: float, seconds: float
) -> dict[str, object]:
    return {
        "model": model,
        "backend": backend,
        "device": device,
        "ready_seconds": round(ready, 4),
        "seconds": round(seconds, 4),
        "done": [
            {
                "content": str(result.job.content),
                "output": str(result.job.output),
                "width": result.width,
                "height": result.height,
                "seconds": round(result.seconds, 4),
            }
            for result in done
        ],
        "failed": [{"content": str(result.job.content), "error": str(result.error)} for result in failed],
    }


def _list_backends(as_json: bool) -> None:
    probes = {name: get_backend(name).probe() for name in backend_names()}
    if as_json:
        console.print_json({name: asdict(probe) for name, probe in probes.items()})
        return
    console.show(console.probe_table("Backends", "backend", probes))
