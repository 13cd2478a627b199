"""Decodes the frequent D-Bus messages, and only the fields that the bridge uses; jeepney decodes all others.

``ListUnits`` returns ten fields for each unit, of which the bridge uses four. ``PropertiesChanged`` has hundreds of
properties, of which it uses a dozen. The parser skips the others undecoded (D-Bus Specification, "Marshaling"). With
8,000 vassals that takes a tenth of a second instead of seconds. Of hundreds of short answers, the headers take most of
the time: so this module decodes headers, too.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any

from jeepney import HeaderFields, Message
from jeepney.low_level import Endianness, Header, Parser, calc_msg_size, parse_signature

if TYPE_CHECKING:
    from collections.abc import Collection

_LISTING = "a(ssssssouso)"
_CHANGED = "sa{sv}as"
_FIXED = {"y": "B", "b": "I", "n": "h", "q": "H", "i": "i", "u": "I", "h": "I", "x": "q", "t": "Q", "d": "d"}
_NUMBERS = {kind: Struct(f"<{code}") for kind, code in _FIXED.items()}
_LENGTH = _NUMBERS["u"].unpack_from
_FIELDS = {field.value: field for field in HeaderFields}
_SIGNAL = b"l\x04"
"""What a signal in little-endian begins with."""
_PATH = b"\x01\x01o\0"
"""What the header field with a message's path begins with: systemd and the bus write it first."""
_ALIGNMENTS = {**{kind: number.size for kind, number in _NUMBERS.items()}, **dict.fromkeys("soa", 4)}
_ALIGNMENTS |= {"g": 1, "v": 1, "(": 8, "{": 8}


SKIPPED = Message(None, ())
"""Stands for a signal that was dropped, so that whoever reads can look at the time."""


class Reader(Parser):  # type: ignore[misc]  # jeepney has no types
    """A parser of messages that decodes only the properties in ``wanted`` of a ``PropertiesChanged``."""

    def __init__(self, wanted: Collection[str]) -> None:
        super().__init__()
        self.next_msg_size: int | None = None
        self._wanted = {name.encode(): name for name in wanted}
        self.muted: set[bytes] = set()
        """Object paths whose signals are dropped undecoded."""

    def get_next_message(self) -> Message | None:
        """Return the next message, ``SKIPPED`` for a muted one, or None if its data is not complete."""
        if (raw := self._next_raw()) is None:
            return None
        return SKIPPED if self.muted and signal_path(raw) in self.muted else self._decoded(raw)

    def _next_raw(self) -> bytes | None:
        if self.next_msg_size is None and self.buf.bytes_buffered >= 16:
            self.next_msg_size = calc_msg_size(self.buf.peek(16))
        if self.next_msg_size is None or self.buf.bytes_buffered < self.next_msg_size:
            return None
        raw: bytes = self.buf.read(self.next_msg_size)
        self.next_msg_size = None
        return raw

    def _decoded(self, raw: bytes) -> Message:
        if (found := header(raw)) is None:
            return Message.from_buffer(raw)
        head, body = found
        signature = head.fields.get(HeaderFields.signature)
        if signature is None:
            return Message(head, ())
        if signature == _LISTING:
            return Message(head, (units(raw, body),))
        if signature == _CHANGED:
            return Message(head, change(raw, body, self._wanted))
        return Message(head, parse_signature([*f"({signature})"]).parse_data(raw, body, Endianness.little)[0])


def header(raw: bytes) -> tuple[Header, int] | None:
    """Return a message's header, and where its body begins; None unless it is little-endian and of known fields."""
    if raw[:1] != b"l":
        return None
    at, end = 16, 16 + _LENGTH(raw, 12)[0]
    fields: dict[HeaderFields, str | int] = {}
    while at < end:
        at = at + 7 & ~7
        field, kind = _FIELDS.get(raw[at]), raw[at + 1 : at + 4]
        if field is None or kind not in {b"\x01s\0", b"\x01o\0", b"\x01u\0", b"\x01g\0"}:
            return None
        at += 4
        if kind == b"\x01u\0":
            fields[field], at = _LENGTH(raw, at)[0], at + 4
        elif kind == b"\x01g\0":
            fields[field], at = raw[at + 1 : at + 1 + raw[at]].decode(), at + 2 + raw[at]
        else:
            fields[field], at = _text(raw, at)
    size, serial = _LENGTH(raw, 4)[0], _LENGTH(raw, 8)[0]
    return Header(Endianness.little, raw[1], raw[2], raw[3], size, serial, fields), end + 7 & ~7


def signal_path(raw: bytes) -> bytes:
    """Return the object path of a signal, or nothing if the message is none or does not begin with its path."""
    if raw[:2] != _SIGNAL or raw[16:20] != _PATH:
        return b""
    return raw[24 : 24 + _LENGTH(raw, 20)[0]]


def units(raw: bytes, at: int) -> list[tuple[str, str, str, str]]:
    """Return the name, load, active and sub state of each unit of a listing that begins at ``at``."""
    length_at, known = _LENGTH, dict[bytes, str]()
    (size,) = length_at(raw, at)
    at = at + 4 + 7 & ~7
    end = at + size
    found = []
    while at < end:
        at = at + 7 & ~7
        (length,) = length_at(raw, at)
        name = raw[at + 4 : at + 4 + length].decode()
        # A text has its length before it, and a NUL behind; the next begins at a multiple of four.
        at = at + length + 8 & ~3
        at = at + length_at(raw, at)[0] + 8 & ~3
        states = []
        for _ in range(3):
            (length,) = length_at(raw, at)
            text = raw[at + 4 : at + 4 + length]
            states.append(known.get(text) or known.setdefault(text, text.decode()))
            at = at + length + 8 & ~3
        # The unit that it follows, its object path, and the id, type and object path of its job.
        at = at + length_at(raw, at)[0] + 8 & ~3
        at = (at + length_at(raw, at)[0] + 8 & ~3) + 4
        at = at + length_at(raw, at)[0] + 8 & ~3
        at = at + length_at(raw, at)[0] + 8 & ~3
        found.append((name, states[0], states[1], states[2]))
    return found


def change(raw: bytes, at: int, wanted: dict[bytes, str]) -> tuple[str, dict[str, tuple[str, Any]], list[str]]:
    """Return the body of a ``PropertiesChanged`` with only the wanted properties and no invalidated ones."""
    interface, at = _text(raw, at)
    at = at + 3 & ~3
    size = _LENGTH(raw, at)[0]
    at = at + 4 + 7 & ~7
    end = at + size
    values: dict[str, tuple[str, Any]] = {}
    while at < end:
        at = at + 7 & ~7
        length = _LENGTH(raw, at)[0]
        name = wanted.get(raw[at + 4 : at + 4 + length])
        at += 5 + length
        kind = raw[at + 1 : at + 1 + raw[at]].decode()
        at += 2 + raw[at]
        if name is None:
            at = skip(raw, at, kind)
        else:
            value, at = _value(raw, at, kind)
            values[name] = (kind, value)
    return interface, values, []


def skip(raw: bytes, at: int, kind: str) -> int:
    """Return the end of the value of this type at ``at``; padding may precede it."""
    return _after(raw, at, kind, 0)[0]


def _after(raw: bytes, at: int, kinds: str, first: int) -> tuple[int, int]:
    """Skip one value; return its end, and the end of its type in ``kinds``."""
    kind = kinds[first]
    at = at + _ALIGNMENTS[kind] - 1 & -_ALIGNMENTS[kind]
    if kind in "so":
        return at + 5 + _LENGTH(raw, at)[0], first + 1
    if kind in _NUMBERS:
        return at + _NUMBERS[kind].size, first + 1
    if kind == "a":
        size, alignment = _LENGTH(raw, at)[0], _ALIGNMENTS[kinds[first + 1]]
        return (at + 4 + alignment - 1 & -alignment) + size, _type_end(kinds, first + 1)
    if kind == "g":
        return at + 2 + raw[at], first + 1
    if kind == "v":
        inner = raw[at + 1 : at + 1 + raw[at]].decode()
        return skip(raw, at + 2 + raw[at], inner), first + 1
    first += 1
    while kinds[first] not in ")}":
        at, first = _after(raw, at, kinds, first)
    return at, first + 1


def _type_end(kinds: str, first: int) -> int:
    """Return the end of the complete type that begins at ``first``."""
    while kinds[first] == "a":
        first += 1
    depth = 0
    for at in range(first, len(kinds)):
        depth += (kinds[at] in "({") - (kinds[at] in ")}")
        if not depth:
            return at + 1
    return len(kinds)


def _text(raw: bytes, at: int) -> tuple[str, int]:
    at = at + 3 & ~3
    length = _LENGTH(raw, at)[0]
    return raw[at + 4 : at + 4 + length].decode(), at + 5 + length


def _value(raw: bytes, at: int, kind: str) -> tuple[Any, int]:
    """Return a value and its end; the value is None unless its type is basic or a structure of basic types."""
    if kind in {"s", "o"}:
        return _text(raw, at)
    if number := _NUMBERS.get(kind):
        at = at + number.size - 1 & -number.size
        return number.unpack_from(raw, at)[0], at + number.size
    if kind.startswith("(") and all(one in "so" or one in _NUMBERS for one in kind[1:-1]):
        at = at + 7 & ~7
        values = []
        for one in kind[1:-1]:
            value, at = _value(raw, at, one)
            values.append(value)
        return tuple(values), at
    return None, skip(raw, at, kind)
