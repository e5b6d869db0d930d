"""A .mlpackage, executed here: a reference for what Core ML should compute, on any machine, in numpy.

It says what the numbers of a package are, each operation rounded to its declared type. It is not Core ML: whether
Apple's compiler takes a package, and where its operations are placed, only a Mac tells.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from adain_runtime.errors import AdainError, BundleError, InputError, QualityError
from adain_runtime.mil.arithmetic import Accumulate
from adain_runtime.mil.blobs import Blobs
from adain_runtime.mil.dtypes import Array
from adain_runtime.mil.features import Feature, read_features
from adain_runtime.mil.plan import Content, Plan, make_plan
from adain_runtime.mil.program import BlobReference, Block, Constant, TensorType, fixed_shape, read_function
from adain_runtime.mil.wire import Message

_MANIFEST = "Manifest.json"
_DATA = "Data"
_MODEL_PATH = "@model_path/"
_PROGRAM = 502
_AGAIN = "copy or export the package again"


@dataclass(frozen=True)
class Function:
    """A function of a package.

    Attributes:
        name: its name; ``main`` where the package has one only.
        inputs: what it takes.
        outputs: what it gives.
        block: its operations.
    """

    name: str
    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    block: Block


@dataclass(frozen=True)
class Intermediate:
    """A value on its way through a function.

    Attributes:
        name: its name in the program.
        kind: the type of the operation that made it; ``input`` for what the function was given.
        type: its declared type.
        values: the array, rounded to that type.
        sources: names of what the operation took, weights and all.
    """

    name: str
    kind: str
    type: TensorType
    values: Array
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Package:
    """An open .mlpackage.

    Attributes:
        path: the folder.
        functions: function name to function.
        default: the function that runs where none is named.
        metadata: what its author wrote: ``description``, ``version``, ``author``, ``license`` and the keys of his own.
    """

    path: Path
    functions: Mapping[str, Function]
    default: str
    metadata: Mapping[str, str]
    _model: Path
    _blobs: dict[str, Blobs]
    _plans: dict[str, Plan]

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Package:
        """Read a package; weights are read when a function is first run.

        Raises:
            InputError: no such folder, or a model of another kind than an ML Program.
            BundleError: it is damaged.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise InputError(f"{folder}: no such .mlpackage folder; make one with: adain-export coreml")
        model = _model_file(folder)
        try:
            message = Message(model.read_bytes())
            if _PROGRAM not in message:
                raise InputError(
                    "is no ML Program (a neural network or a pipeline); the reference executes ML Programs"
                )
            functions = {function.name: function for function in _functions(message)}
        except OSError as error:
            raise BundleError(f"{model}: can't be read ({error.strerror}); {_AGAIN}") from error
        except AdainError as error:
            raise type(error)(f"{model}: {error}") from error
        if not functions:
            raise BundleError(f"{model}: has no functions: damaged; {_AGAIN}")
        named = message.one(2).text(21) or "main"
        default = named if named in functions else next(iter(functions))
        return cls(folder, functions, default, _metadata(message.one(2).one(100)), model, {}, {})

    def run(
        self, function: str, feeds: Mapping[str, object], *, accumulate: Accumulate = "float32"
    ) -> dict[str, Array]:
        """Execute a function.

        Args:
            function: its name.
            feeds: input names to arrays; an image input takes [H,W,3] uint8, RGB (or anything that numpy reads so).
            accumulate: how sums over float16 values are kept, see ``adain_runtime.mil.arithmetic.Accumulate``.

        Returns:
            Output names to arrays; images as [H,W,3] uint8, RGB.

        Raises:
            InputError: no such function, an input missing, unknown, or of a shape that it doesn't take, or operations
                that the reference doesn't know.
            BundleError: the package is damaged.
            QualityError: an input or output is not finite; the message names the first operation whose result was not.
        """
        outputs = {feature.name: feature for feature in self._function(function).outputs}
        made: dict[str, Array] = {}
        for value in self.trace(function, feeds, accumulate=accumulate):
            if value.name in outputs:
                made[value.name] = value.values
        for name, values in made.items():
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise QualityError(
                    f"{self.path}: {function} gave values that are not finite in {name!r}; "
                    f"{self._first_not_finite(function, feeds, accumulate)}"
                )
        return {name: feature.give(made[name]) for name, feature in outputs.items()}

    def trace(
        self, function: str, feeds: Mapping[str, object], *, accumulate: Accumulate = "float32"
    ) -> Iterator[Intermediate]:
        """Execute a function and give every value on the way: inputs, then each operation's results, as they are made.

        A value is forgotten once nothing needs it, so keep what is wanted. Raises as ``run`` does, but for outputs that
        are not finite: those are for the caller to see.
        """
        plan = self.plan(function)
        values: dict[str, Content] = dict(plan.constants)
        for value, array in zip(plan.inputs, self._take(function, feeds, plan), strict=True):
            values[value.name] = array
            yield Intermediate(value.name, "input", value.type, array)
        for step in plan.steps:
            try:
                results = step.compute(values, accumulate)
            except AdainError as error:
                raise type(error)(f"{self.path}: {function}: {error}") from error
            for value, result in zip(step.operation.outputs, results, strict=True):
                values[value.name] = result
                yield Intermediate(value.name, step.operation.kind, value.type, result, _sources(step.operation.inputs))
            del results
            for name in step.dies:
                values.pop(name, None)

    def plan(self, function: str) -> Plan:
        """Check a function's operations and read its weights, once.

        Raises:
            InputError: no such function, or operations that the reference doesn't know.
            BundleError: the package is damaged.
        """
        if function not in self._plans:
            block = self._function(function).block
            try:
                self._plans[function] = make_plan(block, self._read)
            except AdainError as error:
                raise type(error)(f"{self.path}: {function}: {error}") from error
        return self._plans[function]

    def _function(self, name: str) -> Function:
        if name not in self.functions:
            raise InputError(f"{self.path}: no function {name!r}; it has {', '.join(self.functions)}")
        return self.functions[name]

    def _take(self, name: str, feeds: Mapping[str, object], plan: Plan) -> Iterator[Array]:
        features = {feature.name: feature for feature in self._function(name).inputs}
        if set(feeds) != set(features):
            raise InputError(f"{self.path}: {name} takes {', '.join(features)}; found {', '.join(feeds) or 'nothing'}")
        for value in plan.inputs:
            if value.name not in features:
                raise BundleError(f"{self.path}: {name} has an input {value.name!r} that it doesn't describe; {_AGAIN}")
            try:
                array = features[value.name].take(feeds[value.name])
            except AdainError as error:
                raise type(error)(f"{self.path}: {name}: {error}") from error
            if not value.type.admits(array.shape):
                raise BundleError(
                    f"{self.path}: {name}: {value.name!r} is {value.type}, and {list(array.shape)} is described"
                )
            yield array.astype(value.type.dtype.numpy, copy=False)

    def _read(self, constant: Constant, blob: BlobReference) -> Array:
        inside = PurePosixPath(blob.file.removeprefix(_MODEL_PATH))
        if not blob.file.startswith(_MODEL_PATH) or not _is_inside(inside):
            raise BundleError(f"its weights lie in {blob.file!r}, outside the package: damaged")
        if blob.file not in self._blobs:
            self._blobs[blob.file] = Blobs(self._model.parent / inside)
        return self._blobs[blob.file].read(blob.offset, constant.type.dtype, fixed_shape(constant.type)[1])

    def _first_not_finite(self, function: str, feeds: Mapping[str, object], accumulate: Accumulate) -> str:
        for value in self.trace(function, feeds, accumulate=accumulate):
            if value.values.dtype.kind == "f" and not np.isfinite(value.values).all():
                return f"the first such value is {value.name!r}, {value.type}, made by {value.kind}; try fp32"
        return "and none before it, so it was made differently twice"


def _sources(inputs: Mapping[str, tuple[str | Constant, ...]]) -> tuple[str, ...]:
    return tuple(argument for arguments in inputs.values() for argument in arguments if isinstance(argument, str))


def _model_file(folder: Path) -> Path:
    path = folder / _MANIFEST
    try:
        plain: Any = json.loads(path.read_text(encoding="utf-8"))
        item = plain["itemInfoEntries"][plain["rootModelIdentifier"]]["path"]
    except FileNotFoundError as error:
        raise BundleError(f"{path}: missing: this folder is no .mlpackage, or a part of one; {_AGAIN}") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(f"{path}: names no model ({type(error).__name__}: {error}); {_AGAIN}") from error
    if not isinstance(item, str) or not _is_inside(PurePosixPath(item)):
        raise BundleError(f"{path}: its model {item!r} is outside the package: damaged; {_AGAIN}")
    return folder / _DATA / item


def _is_inside(path: PurePosixPath) -> bool:
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _functions(message: Message) -> Iterator[Function]:
    description = message.one(2)
    if 13 in description:
        raise InputError("keeps a state between runs, which the reference doesn't execute; use Core ML")
    described = {entry.text(1): (entry.many(2), entry.many(3)) for entry in description.many(20)}
    bodies = list(message.one(_PROGRAM).mapping(2))
    if not described and len(bodies) == 1:
        described = {bodies[0][0]: (description.many(1), description.many(10))}
    for name, body in bodies:
        if name not in described:
            raise BundleError(f"the function {name!r} is not described: damaged; {_AGAIN}")
        inputs, outputs = described[name]
        block = read_function(body)
        function = Function(name, read_features(inputs), read_features(outputs), block)
        if missing := {output.name for output in function.outputs} - set(block.outputs):
            raise BundleError(f"{name} describes the output {min(missing)!r}, which it doesn't give: damaged; {_AGAIN}")
        yield function


def _metadata(message: Message) -> dict[str, str]:
    written = {
        "description": message.text(1),
        "version": message.text(2),
        "author": message.text(3),
        "license": message.text(4),
    }
    return {k: v for k, v in written.items() if v} | {entry.text(1): entry.text(2) for entry in message.many(100)}
