"""`tf.train.Example`, a message of Protocol Buffers, read without TensorFlow.

    Example {1: Features}; Features {1: map<string, Feature>};
    Feature {1: BytesList | 2: FloatList | 3: Int64List}; each list {1: repeated value}

(tensorflow/core/example/feature.proto; the wire format: protobuf.dev/programming-guides/encoding).
Bytes are given by their place, so that a picture is not copied to read its label.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from mmap import mmap
from typing import NamedTuple

Content = bytes | mmap
_BYTES, _INTEGERS = 1, 3
_NO_EXAMPLE = "a record is no message of tf.train.Example"
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


class Span(NamedTuple):
    """Bytes in a larger content."""

    start: int
    size: int


def example(content: Content, message: Span) -> Mapping[str, Span | int]:
    """The first value of each feature of bytes or whole numbers: a feature without a value, and one
    of real numbers, is left out.

    Args:
        content: a file's, or anything that slices into bytes.
        message: where the message is.

    Raises:
        ValueError: it is no such message.
    """
    found: dict[str, Span | int] = {}
    for features in _of(content, message, 1):
        for entry in _of(content, features, 1):
            name = "".join(_text(content, key) for key in _of(content, entry, 1))
            for feature in _of(content, entry, 2):
                if (value := _first(content, feature)) is not None:
                    found[name] = value
    return found


def _first(content: Content, feature: Span) -> Span | int | None:
    for field, values in _fields(content, feature):
        if not isinstance(values, Span) or field not in (_BYTES, _INTEGERS):
            continue
        for number, value in _fields(content, values):
            if number != 1:
                continue
            if field == _BYTES or isinstance(value, int):
                return value
            return _signed(_varint(content, value.start)[0]) if value.size else None  # packed
    return None


def _of(content: Content, message: Span, number: int) -> Iterator[Span]:
    """The submessages of one field."""
    for field, value in _fields(content, message):
        if field == number and isinstance(value, Span):
            yield value


def _fields(content: Content, message: Span) -> Iterator[tuple[int, Span | int]]:
    """Number and value of each field; those of a fixed size are passed over."""
    place, end = message.start, message.start + message.size
    while place < end:
        key, place = _varint(content, place)
        kind = key & 7
        if kind == _VARINT:
            value, place = _varint(content, place)
            yield key >> 3, _signed(value)
        elif kind == _LENGTH:
            size, place = _varint(content, place)
            if place + size > end:
                raise ValueError(_NO_EXAMPLE)
            yield key >> 3, Span(place, size)
            place += size
        elif kind in (_FIXED64, _FIXED32):
            place += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(_NO_EXAMPLE)
    if place > end:
        raise ValueError(_NO_EXAMPLE)


def _varint(content: Content, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = content[place]
        place += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, place
        if shift > 63:
            raise ValueError(_NO_EXAMPLE)


def _signed(value: int) -> int:
    """As a signed number of 64 bits."""
    return value - (1 << 64) if value >> 63 else value


def _text(content: Content, span: Span) -> str:
    return content[span.start : span.start + span.size].decode("utf-8", "replace")
