"""The command ``adain-train crafts``: draws pictures of kinds that a collection of paintings lacks."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import ImageOps

from adain_runtime.cli import console
from adain_runtime.errors import InputError
from adain_runtime.image import Photo, load_image, resize_shorter, save_image, to_pil
from adain_runtime.results import make_folder
from adain_train.crafts import CRAFTS, SMALLEST, draw
from adain_train.data import Framing, Pixels, check_folder, prefetch


def crafts_command(
    images: Annotated[Path, typer.Argument(help="Folder of photos and paintings to draw after.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures, such as mosaic-0000.bmp.")],
    count: Annotated[int, typer.Option(min=1, help="Pictures to draw.")] = 1000,
    kinds: Annotated[
        str, typer.Option(metavar="KIND,KIND,...", help="Which, drawn in turn; one may stand twice. Default: all.")
    ] = ",".join(CRAFTS),
    size: Annotated[int, typer.Option(min=2 * SMALLEST, help="Pixels of a picture's shorter side.")] = 288,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is random.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Threads that draw.")] = 2,
    as_json: console.AsJson = False,
    verbose: console.Verbose = False,  # noqa: ARG001 its callback acts
) -> None:
    """Draw mosaics, hatching, brushwork, marbling and others after other pictures, as styles to train on.

    The same images, count, kinds, size and seed give the same pictures; a larger count adds to them. They are not
    compressed, so that no library's version changes their digests.
    """
    wanted = tuple(kinds.split(","))
    for kind in wanted:
        if kind not in CRAFTS:
            raise InputError(f"--kinds {kind}: no such kind; there are {', '.join(CRAFTS)}")
    if output.resolve() == images.resolve():
        raise InputError(f"-o {output} is the folder to draw after, and next time would be drawn after itself")
    framing = Framing(crop=2 * SMALLEST, shorter_min=size, shorter_max=size)
    with console.progress() as bar:
        task = bar.add_task("checking images", total=None)
        found = check_folder(images, framing, workers=workers, advance=lambda: bar.advance(task))
        make_folder(output)
        pictures, rng = len(found.names), np.random.default_rng([seed])
        order = np.concatenate([rng.permutation(pictures) for _ in range(0, count, pictures)])

        def make(number: int) -> str:
            after = images / found.names[order[number]]
            kind = wanted[number % len(wanted)]
            picture = draw(framed(load_image(after), size), kind, number, seed)
            save_image(Photo(picture), output / f"{kind}-{number:04d}.bmp")
            return kind

        with closing(prefetch(make, range(count), workers=workers)) as made:
            drawn = Counter(bar.track(made, total=count, description="drawing"))
    if as_json:
        console.print_json(
            {
                "output": str(output),
                "images": len(found.names),
                "images_sha256": found.digest,
                "skipped": len(found.skipped),
                "drawn": dict(drawn),
            }
        )
        return
    if found.skipped:
        console.say(found.report())
    console.say(f"wrote {count} pictures to {output}: {', '.join(f'{n} {kind}' for kind, n in drawn.items())}")


def framed(photo: Photo, size: int) -> Pixels:
    """The photo with this shorter side, and of the longer one the middle, at most half as much again."""
    scaled = resize_shorter(photo, size, enlarge=True)
    longest = size * 3 // 2
    wanted = (min(scaled.width, longest), min(scaled.height, longest))
    if wanted == (scaled.width, scaled.height):
        return scaled.rgb
    return np.asarray(ImageOps.fit(to_pil(Photo(scaled.rgb)), wanted))
