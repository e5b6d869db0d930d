"""An ML Program as data: functions of operations, read from the protobuf of a .mlpackage's model.

Field numbers: coremltools' mlmodel/format/MIL.proto.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from adain_runtime.errors import BundleError, InputError
from adain_runtime.mil.dtypes import BY_NUMBER, TEXT, Array, DType, unpack
from adain_runtime.mil.wire import Message

_FLOATS, _INTS, _BOOLS, _STRINGS, _LONGS, _DOUBLES, _BYTES = range(1, 8)  # the oneof of TensorValue


@dataclass(frozen=True)
class TensorType:
    """A declared type: the element type and the shape, where None stands for a size that varies."""

    dtype: DType
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.dtype.name} [{', '.join('?' if size is None else str(size) for size in self.shape)}]"

    def admits(self, shape: tuple[int, ...]) -> bool:
        """Whether a shape is one of those declared."""
        return len(shape) == len(self.shape) and all(
            wanted is None or wanted == found for wanted, found in zip(self.shape, shape, strict=True)
        )


@dataclass(frozen=True)
class BlobReference:
    """A value that lies in a file of weights."""

    file: str
    offset: int


@dataclass(frozen=True)
class Constant:
    """A value in the program: an array, a text, or where its blob is."""

    type: TensorType
    content: Array | str | BlobReference


@dataclass(frozen=True)
class Value:
    """A named, typed result, or an input of a function."""

    name: str
    type: TensorType


Argument = str | Constant
"""What an operation is given: the name of a value, or a value itself."""


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        kind: its type, such as ``conv``.
        inputs: parameter to arguments; more than one where the parameter is a list, such as ``values`` of ``concat``.
        outputs: its results.
        has_blocks: whether it has blocks of operations within, as loops and branches do.
    """

    kind: str
    inputs: Mapping[str, tuple[Argument, ...]]
    outputs: tuple[Value, ...]
    has_blocks: bool = False

    def __str__(self) -> str:
        return f"{self.kind} {self.outputs[0].name!r}" if self.outputs else self.kind


@dataclass(frozen=True)
class Block:
    """A function's body: inputs, operations in the order in which they run, names of the outputs."""

    inputs: tuple[Value, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]
    opset: str = ""
    kinds: frozenset[str] = field(default=frozenset())


def read_function(message: Message) -> Block:
    """A function's body, for the opset that it was written for.

    Raises:
        BundleError: it is damaged, or holds values that no ML Program of a network has.
    """
    opset = message.text(2)
    blocks = dict(message.mapping(3))
    if opset not in blocks:
        raise BundleError(f"it is for the opset {opset!r}, and has a body for {', '.join(blocks) or 'none'}: damaged")
    block = blocks[opset]
    operations = tuple(map(_operation, block.many(3)))
    return Block(
        inputs=tuple(map(_value, message.many(1))),
        operations=operations,
        outputs=block.texts(2),
        opset=opset,
        kinds=frozenset(operation.kind for operation in operations),
    )


def _operation(message: Message) -> Operation:
    kind = message.text(1)
    outputs = tuple(_value(output) for output in message.many(3))
    where = f"{kind} {outputs[0].name!r}" if outputs else kind
    try:
        inputs: dict[str, tuple[Argument, ...]] = {
            name: tuple(_argument(binding) for binding in argument.many(1)) for name, argument in message.mapping(2)
        }
        inputs |= {name: (_constant(value),) for name, value in message.mapping(5) if name != "name"}
    except BundleError as error:
        raise BundleError(f"{where}: {error}") from error
    return Operation(kind, inputs, outputs, has_blocks=4 in message)


def _argument(binding: Message) -> Argument:
    return binding.text(1) if binding.which(1, 2) == 1 else _constant(binding.one(2))


def _value(message: Message) -> Value:
    name = message.text(1)
    try:
        return Value(name, _type(message.one(2)))
    except (BundleError, InputError) as error:
        raise type(error)(f"{name!r}: {error}") from error


def _type(message: Message) -> TensorType:
    if message.which(1, 2, 3, 4, 5) != 1:
        raise InputError("is a list, a dictionary or a state, which the reference doesn't execute; use Core ML")
    tensor = message.one(1)
    number = tensor.whole(1)
    if number not in BY_NUMBER:
        raise InputError(f"has the element type {number}, which the reference doesn't execute; use Core ML")
    shape = tuple(_dimension(dimension) for dimension in tensor.many(3))
    if tensor.whole(2) not in (len(shape), 0):
        raise BundleError(f"declares {tensor.whole(2)} dimensions and lists {len(shape)}: damaged")
    return TensorType(BY_NUMBER[number], shape)


def _dimension(message: Message) -> int | None:
    return message.one(1).whole(1) if message.which(1, 2) == 1 else None


def _constant(message: Message) -> Constant:
    declared = _type(message.one(2))
    if message.which(3, 5) == 5:
        blob = message.one(5)
        return Constant(declared, BlobReference(blob.text(1), blob.whole(2)))
    immediate = message.one(3)
    if immediate.which(1, 2, 3, 4) != 1:
        raise InputError("holds a tuple, a list or a dictionary, which the reference doesn't execute; use Core ML")
    return Constant(declared, _immediate(declared, immediate.one(1)))


def _immediate(declared: TensorType, value: Message) -> Array | str:
    shape, count = fixed_shape(declared)
    kind = value.which(_FLOATS, _INTS, _BOOLS, _STRINGS, _LONGS, _DOUBLES, _BYTES)
    if declared.dtype is TEXT:
        texts = value.one(_STRINGS).texts(1)
        if len(texts) != 1 or shape:
            raise InputError(f"holds {len(texts)} texts where the reference takes one; use Core ML")
        return texts[0]
    if kind == _BYTES:
        return unpack(value.one(_BYTES).raw(1), declared.dtype, count).reshape(shape)
    found: Array
    if kind in (_FLOATS, _DOUBLES):
        found = value.one(kind).numbers(1, "<f4" if kind == _FLOATS else "<f8")
    else:
        found = np.array(value.one(kind).wholes(1) if kind is not None else (), np.int64)
    if found.size != count:
        raise BundleError(f"declares {declared} and holds {found.size} elements: damaged")
    return found.astype(declared.dtype.numpy).reshape(shape)


def fixed_shape(declared: TensorType) -> tuple[tuple[int, ...], int]:
    """A constant's shape and number of elements.

    Raises:
        BundleError: a size is left open, or is no size.
    """
    shape = tuple(-1 if size is None else size for size in declared.shape)
    if any(size < 0 for size in shape):
        raise BundleError(f"a constant is declared as {declared}, without a size: damaged")
    return shape, math.prod(shape)
