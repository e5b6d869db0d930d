"""A function made ready: every operation known, every name defined, every weight read, before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from adain_runtime.errors import BundleError, InputError
from adain_runtime.mil.arithmetic import Accumulate
from adain_runtime.mil.dtypes import Array
from adain_runtime.mil.ops import LISTS, OPS, Op
from adain_runtime.mil.program import BlobReference, Block, Constant, Operation, Value, fixed_shape

Content = Array | str
ReadBlob = Callable[[Constant, BlobReference], Array]
_CONSTANT = "const"
_COMPRESSED = "constexpr_"


@dataclass(frozen=True)
class Step:
    """An operation that depends on the inputs, ready to run.

    Attributes:
        operation: what the program says.
        op: what computes it.
        given: its arguments: names of values, or the values themselves.
        dies: names that nothing after this step needs.
    """

    operation: Operation
    op: Op
    given: Mapping[str, tuple[str | Content, ...]]
    dies: tuple[str, ...]

    def compute(self, values: Mapping[str, Content], accumulate: Accumulate) -> tuple[Array, ...]:
        """The results, each rounded to its declared type.

        Raises:
            BundleError: a result is not what the program declares, or can't be computed from what it is given.
            InputError: the operation is used in a way that the reference doesn't know, or there is no memory for it.
        """
        found = {
            name: tuple(values[a.name] if isinstance(a, Name) else a for a in given)
            for name, given in self.given.items()
        }
        return _results(self.operation, _call(self.operation, self.op, found, accumulate))


class Name(str):
    """The name of a value, in the place of a value; a plain ``str`` there is a text."""

    __slots__ = ()

    @property
    def name(self) -> str:
        """As a plain text."""
        return str(self)


@dataclass(frozen=True)
class Plan:
    """A function that can be executed.

    Attributes:
        inputs: its inputs.
        steps: its operations that depend on them, in order.
        constants: every value that doesn't, and that a step or an output needs.
        outputs: names of its outputs.
    """

    inputs: tuple[Value, ...]
    steps: tuple[Step, ...]
    constants: Mapping[str, Content]
    outputs: tuple[str, ...]


def make_plan(block: Block, read: ReadBlob) -> Plan:
    """Check a function's operations and read its weights.

    Args:
        block: the function's body.
        read: gives the array of a blob.

    Raises:
        InputError: operations that the reference doesn't know, all of them named.
        BundleError: a name that nothing defines, an argument that is missing or strange, weights that are damaged.
    """
    _check_kinds(block)
    constants: dict[str, Content] = {}
    known = {value.name for value in block.inputs}
    drafts: list[tuple[Operation, Mapping[str, tuple[str | Content, ...]]]] = []
    for operation in block.operations:
        given = {name: tuple(_load(operation, a, read) for a in given) for name, given in operation.inputs.items()}
        _check_arguments(operation, given, known)
        known |= {value.name for value in operation.outputs}
        if operation.kind == _CONSTANT or operation.kind.startswith(_COMPRESSED):
            constants |= _evaluate(operation, given, constants)
        else:
            drafts.append((operation, given))
    if missing := [name for name in block.outputs if name not in known]:
        raise BundleError(f"the output {missing[0]!r} is computed by nothing: damaged")
    steps = tuple(_with_lives(drafts, frozenset(block.outputs)))
    needed = set(block.outputs) | {name for step in steps for name in _names(step.given)}
    return Plan(block.inputs, steps, {k: v for k, v in constants.items() if k in needed}, block.outputs)


def _check_kinds(block: Block) -> None:
    unknown = sorted(block.kinds - set(OPS)) + sorted(
        {o.kind for o in block.operations if o.has_blocks and o.kind in OPS}
    )
    if unknown:
        raise InputError(
            f"has operations that the reference doesn't know: {', '.join(unknown)}; it executes what "
            "adain-export coreml writes, and Core ML on a Mac the rest"
        )


def _check_arguments(operation: Operation, given: Mapping[str, tuple[str | Content, ...]], known: set[str]) -> None:
    op = OPS[operation.kind]
    if not operation.outputs:
        raise BundleError(f"{operation}: an operation without a result: damaged")
    if strange := sorted(set(given) - op.parameters):
        raise InputError(f"{operation}: has the parameter {strange[0]!r}, which the reference doesn't know")
    if missing := sorted(op.required - set(given)):
        raise BundleError(f"{operation}: lacks the parameter {missing[0]!r}: damaged")
    for name, arguments in given.items():
        if len(arguments) != 1 and name not in LISTS:
            raise BundleError(f"{operation}: {len(arguments)} arguments for {name!r}, which takes one: damaged")
    if undefined := [name for name in _names(given) if name not in known]:
        raise BundleError(f"{operation}: takes {undefined[0]!r}, which nothing before it computes: damaged")
    if twice := [value.name for value in operation.outputs if value.name in known]:
        raise BundleError(f"{operation}: computes {twice[0]!r} a second time: damaged")


def _load(operation: Operation, argument: str | Constant, read: ReadBlob) -> str | Content:
    if isinstance(argument, str):
        return Name(argument)
    if not isinstance(argument.content, BlobReference):
        if argument.type.dtype.is_float and np.isnan(argument.content).any():  # an infinite bound of a clip is sound
            raise BundleError(f"{operation}: a constant of it is NaN: damaged; export the package again")
        return argument.content
    try:
        values = read(argument, argument.content).reshape(fixed_shape(argument.type)[0])
    except BundleError as error:
        raise BundleError(f"{operation}: {error}") from error
    if argument.type.dtype.is_float and not np.isfinite(values).all():
        raise BundleError(
            f"{operation}: its weights hold values that are not finite: damaged; export the package again"
        )
    return values


def _evaluate(
    operation: Operation, given: Mapping[str, tuple[str | Content, ...]], constants: Mapping[str, Content]
) -> dict[str, Content]:
    if changing := [name for name in _names(given) if name not in constants]:
        raise BundleError(f"{operation}: takes {changing[0]!r}, which is no constant: damaged")
    found = {
        name: tuple(constants[a.name] if isinstance(a, Name) else a for a in values) for name, values in given.items()
    }
    if operation.kind == _CONSTANT and isinstance(found["val"][0], str):
        return {operation.outputs[0].name: found["val"][0]}
    results = _results(operation, _call(operation, OPS[operation.kind], found, "float32"))
    return {value.name: result for value, result in zip(operation.outputs, results, strict=True)}


def _call(
    operation: Operation, op: Op, found: Mapping[str, tuple[Content, ...]], accumulate: Accumulate
) -> tuple[Array, ...]:
    arguments: dict[str, object] = {name: list(given) if name in LISTS else given[0] for name, given in found.items()}
    if op.accumulates:
        arguments["accumulate"] = accumulate
    try:
        with np.errstate(all="ignore"):  # what isn't finite is found in the results, by those who ask
            made = op.compute(**arguments)
    except MemoryError as error:
        raise InputError(f"{operation}: there is no memory for it; take a smaller picture (--size)") from error
    except (BundleError, InputError) as error:
        raise type(error)(f"{operation}: {error}") from error
    except (ValueError, IndexError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise BundleError(f"{operation}: can't be computed from what it is given ({error}): damaged") from error
    return made if isinstance(made, tuple) else (np.asarray(made),)


def _results(operation: Operation, made: tuple[Array, ...]) -> tuple[Array, ...]:
    if len(made) != len(operation.outputs):
        raise BundleError(f"{operation}: gives {len(made)} results, and {len(operation.outputs)} are declared: damaged")
    return tuple(_rounded(operation, value, result) for value, result in zip(operation.outputs, made, strict=True))


def _rounded(operation: Operation, value: Value, result: Array) -> Array:
    declared = value.type
    kinds = {result.dtype.kind, declared.dtype.numpy.kind}
    if len(kinds) > 1 and not kinds <= {"i", "u"}:
        raise BundleError(f"{operation}: gives {result.dtype}, and {declared} is declared: damaged")
    if not declared.admits(result.shape):
        raise BundleError(f"{operation}: gives the shape {list(result.shape)}, and {declared} is declared: damaged")
    with np.errstate(over="ignore", invalid="ignore"):
        return result.astype(declared.dtype.numpy, copy=False)


def _with_lives(
    drafts: list[tuple[Operation, Mapping[str, tuple[str | Content, ...]]]], outputs: frozenset[str]
) -> Iterator[Step]:
    last: dict[str, int] = {}
    for index, (operation, given) in enumerate(drafts):
        last |= dict.fromkeys((*_names(given), *(value.name for value in operation.outputs)), index)
    ends: dict[int, list[str]] = {}
    for name, index in last.items():
        if name not in outputs:
            ends.setdefault(index, []).append(name)
    for index, (operation, given) in enumerate(drafts):
        yield Step(operation, OPS[operation.kind], given, tuple(ends.get(index, ())))


def _names(given: Mapping[str, tuple[str | Content, ...]]) -> list[str]:
    return [argument.name for arguments in given.values() for argument in arguments if isinstance(argument, Name)]
