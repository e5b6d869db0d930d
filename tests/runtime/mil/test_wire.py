"""Our reader of the protobuf wire format reads what the published classes write, and nothing crashes it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adain_runtime.errors import BundleError
from adain_runtime.mil.wire import Message

MIL = pytest.importorskip("coremltools.proto.MIL_pb2", reason="coremltools, whose protobuf classes write, is missing")

floats = st.floats(width=32, allow_nan=False)


@given(st.lists(floats), st.lists(st.integers(-(1 << 31), (1 << 31) - 1)), st.lists(st.booleans()))
def test_packed_numbers_are_read(numbers, wholes, flags):
    made = MIL.TensorValue(floats=MIL.TensorValue.RepeatedFloats(values=numbers))
    found = Message(made.SerializeToString()).one(1).numbers(1, "<f4")
    np.testing.assert_array_equal(found, np.array(numbers, np.float32))
    made = MIL.TensorValue(ints=MIL.TensorValue.RepeatedInts(values=wholes))
    assert Message(made.SerializeToString()).one(2).wholes(1) == tuple(wholes)
    made = MIL.TensorValue(bools=MIL.TensorValue.RepeatedBools(values=flags))
    assert Message(made.SerializeToString()).one(3).wholes(1) == tuple(map(int, flags))


@given(st.text(), st.lists(st.text(), max_size=5), st.integers(0, (1 << 63) - 1))
def test_texts_wholes_and_maps_are_read(text, texts, number):
    made = MIL.Value(blobFileValue=MIL.Value.BlobFileValue(fileName=text, offset=number))
    blob = Message(made.SerializeToString()).one(5)
    assert (blob.text(1), blob.whole(2)) == (text, number)
    made = MIL.Program(functions={name: MIL.Function(opset=name) for name in texts})
    found = dict(Message(made.SerializeToString()).mapping(2))
    assert {name: function.text(2) for name, function in found.items()} == {name: name for name in texts}
    assert Message(MIL.Block(outputs=texts).SerializeToString()).texts(2) == tuple(texts)


def test_numbers_that_are_not_packed_are_read_too():
    assert Message(bytes([0x08, 1, 0x08, 0xAC, 2])).wholes(1) == (1, 300)
    assert Message(b"\x0d\x00\x00\x80\x3f\x0d\x00\x00\x00\x40").numbers(1, "<f4").tolist() == [1, 2]


def test_what_is_not_there_has_the_formats_default():
    empty = Message(b"")
    assert (empty.whole(1), empty.text(2), empty.wholes(3), list(empty.many(4)), empty.which(5, 6)) == (
        0,
        "",
        (),
        [],
        None,
    )
    assert empty.one(7).raw(1) == b""
    assert 1 not in empty


@settings(max_examples=200)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data):
    try:
        message = Message(data)
    except BundleError:
        return
    for number in range(1, 16):
        for read in (message.whole, message.text, message.wholes, message.raw, lambda n: message.numbers(n, "<f8")):
            try:
                read(number)
            except BundleError as error:
                assert "damaged" in str(error) or "cut short" in str(error) or "protobuf" in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x0a\x05abc", "ends within a field"),
        (b"\x08", "ends within a number"),
        (b"\x08" + b"\xff" * 11, "more than ten bytes"),
        (b"\x0b", "not a protobuf"),
        (b"\x00\x00", "not a protobuf"),
    ],
)
def test_damage_is_told(data, why):
    with pytest.raises(BundleError, match=why):
        Message(data)


def test_a_name_that_is_no_text_is_damage():
    with pytest.raises(BundleError, match="UTF-8"):
        Message(b"\x0a\x01\xff").text(1)
