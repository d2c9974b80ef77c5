"""Messages of Protocol Buffers, by hand from its description of the wire format."""

import pytest

from raysel.tasks.readers.train_example import Span, example


def _varint(number: int) -> bytes:
    number %= 1 << 64
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _message(**features: bytes) -> bytes:
    entries = [
        _field(1, _field(1, name.encode()) + _field(2, feature))
        for name, feature in features.items()
    ]
    return _field(1, b"".join(entries))


def _read(content: bytes):
    padded = b"??" + content + b"??"
    found = example(padded, Span(2, len(content)))
    return {
        name: padded[one.start : one.start + one.size] if isinstance(one, Span) else one
        for name, one in found.items()
    }


def test_the_first_value_of_each_feature_is_read():
    content = _message(
        image=_field(1, _field(1, b"picture" * 30) + _field(1, b"another")),
        packed=_field(3, _field(1, _varint(300) + _varint(7))),
        single=_field(3, _varint(1 << 3) + _varint(5)),
        hidden=_field(3, _field(1, _varint(-1))),
        depth=_field(2, _field(1, b"\0\0\x80\x3f")),
        none=_field(3, b""),
    )
    expected = {"image": b"picture" * 30, "packed": 300, "single": 5, "hidden": -1}
    assert _read(content) == expected


def test_fields_that_are_unknown_are_passed_over():
    unknown = _varint(9 << 3 | 1) + b"12345678" + _varint(10 << 3 | 5) + b"1234" + _field(11, b"x")
    assert _read(unknown + _message(a=_field(3, _field(1, _varint(4))) + unknown)) == {"a": 4}


@pytest.mark.parametrize(
    "content", [b"\xff" * 12, _field(1, b"\x0a\x7fno"), b"\x0b", _message(a=_field(3, b"\x0a\x05"))]
)
def test_what_is_no_message_is_refused(content):
    with pytest.raises((ValueError, IndexError)):
        _read(content)
