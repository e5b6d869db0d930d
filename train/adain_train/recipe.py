"""A student that is trained in several stages, each begun as what the one before left: all of it as one TOML file.

A stage holds what the ``config.toml`` of its run will hold, as far as that differs from its preset::

    [train]                      # of every stage; and so [machine] and [sources]
    perceptual_from = 0.0

    [[stage]]
    name = "1-rough"             # its folder's
    content = "photos"           # the command says which folder that is
    style = "paintings"
    preset = "cpu"
    train = { steps = 10000, framing.crop = 96 }
    machine = { until = 8000 }
    sources = { teacher = "..." }  # SHA-256, as model cards have it: another is refused
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, cast

from adain_runtime.errors import InputError
from adain_runtime.spec import NetworkSpec
from adain_train.config import Machine, StudentConfig, with_settings, with_values
from adain_train.presets import STUDENTS, preset

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_SHARED = ("train", "machine", "sources")


@dataclass(frozen=True)
class Stage:
    """One of a recipe's runs.

    Attributes:
        name: of its folder.
        content: the name of the folder of its contents.
        style: and of its styles.
        preset: what ``train`` differs from.
        train: fields of its `StudentConfig`, nested as in config.toml.
        machine: fields of its `Machine`.
        sources: digests that its sources must have, by the names that model cards have for them.
    """

    name: str
    content: str
    style: str
    preset: str = "cpu"
    train: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)

    def config(self, spec: NetworkSpec) -> StudentConfig:
        """What is trained.

        Raises:
            InputError: a field or a value that there isn't.
        """
        chosen = cast(StudentConfig, preset(self.preset, STUDENTS))
        return with_values(replace(chosen, name=spec.name, spec=spec), self.train, f"stage {self.name}: train.")

    def on(self, settings: Sequence[str], minutes: float | None) -> Machine:
        """Where it is trained: the recipe's machine, with ``NAME=VALUE`` that a person has set over it.

        Raises:
            InputError: a field or a value that there isn't.
        """
        machine = with_values(Machine(), self.machine, f"stage {self.name}: machine.")
        if said := [setting for setting in settings if setting.partition("=")[0].strip() == "minutes"]:
            raise InputError(f"--machine {said[0]}: --minutes says that, for all stages together")
        return replace(with_settings(machine, settings), minutes=minutes)


def read_recipe(path: Path) -> tuple[Stage, ...]:
    """The stages of a recipe, each with what the file says of all of them.

    Raises:
        InputError: it can't be read, or isn't a recipe.
    """
    try:
        plain = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no recipe can be read ({error}); give a TOML file") from error
    stages, shared = plain.pop("stage", []), {name: plain.pop(name, {}) for name in _SHARED}
    if plain or not stages or not isinstance(stages, list):
        found = f"found {', '.join(plain)}" if plain else "found no stage"
        raise InputError(f"{path}: {found}; a recipe has {', '.join(_SHARED)}, and a [[stage]] for each run")
    if wrong := [name for name, group in shared.items() if not isinstance(group, dict)]:
        raise InputError(f"{path}: {wrong[0]} is no group; set its fields")
    if wrong := [name for name, digest in shared["sources"].items() if not isinstance(digest, str)]:
        raise InputError(f"{path}: sources.{wrong[0]} is no digest")
    made = tuple(_stage(path, shared, stage) for stage in stages)
    if len({stage.name for stage in made}) < len(made):
        raise InputError(f"{path}: two stages of one name; each has a folder of its own")
    return made


def _stage(path: Path, shared: Mapping[str, Any], plain: object) -> Stage:
    known = [field.name for field in fields(Stage)]
    found = plain if isinstance(plain, dict) else {}
    where = f"{path}: stage {found.get('name', '(no name)')}"
    wrong = [name for name in ("name", "content", "style", "preset") if not isinstance(found.get(name, "cpu"), str)]
    wrong += [name for name in _SHARED if not isinstance({**shared, **found}.get(name), dict)]
    wrong += [name for name in ("name", "content", "style") if not found.get(name)]
    wrong += [name for name in found if name not in known]
    if not wrong:
        wrong += [f"sources.{name}" for name, said in found.get("sources", {}).items() if not isinstance(said, str)]
    if wrong:
        raise InputError(f"{where}: {wrong[0]} is missing, unknown or of the wrong kind; there is {', '.join(known)}")
    if Path(found["name"]).name != found["name"] or found["name"].startswith("."):
        raise InputError(f"{where}: the name is no folder's name")
    for name, taken in (("train", ("spec", "name")), ("machine", ("minutes",))):
        if clash := set(taken) & {*shared[name], *found.get(name, {})}:
            raise InputError(f"{where}: {name}.{min(clash)} is the command's to say; leave it out")
    return Stage(**{**found, **{name: _merged(shared[name], found.get(name, {})) for name in _SHARED}})


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both, nested; where both say something, ``above`` holds."""
    both = {**below, **above}
    nested = [name for name in below if isinstance(below[name], dict) and isinstance(above.get(name), dict)]
    return {**both, **{name: _merged(below[name], above[name]) for name in nested}}
