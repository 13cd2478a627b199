"""The decoder of what comes in thousands agrees with jeepney's."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from jeepney import DBusAddress, HeaderFields, new_signal
from jeepney.low_level import Endianness, Header, Message, MessageType, Parser

from bridge.systemd.dbus_parser import Reader

ADDRESS = DBusAddress("/org/freedesktop/systemd1/unit/a", interface="org.freedesktop.DBus.Properties")
TEXT = st.text(max_size=12).map(lambda text: text.replace("\0", ""))
NUMBER = st.integers(0, 2**32 - 1)
PATH = st.just("/a/b")
VALUES = st.one_of(
    TEXT.map(lambda v: ("s", v)),
    NUMBER.map(lambda v: ("u", v)),
    NUMBER.map(lambda v: ("t", v)),
    st.integers(-(2**31), 2**31 - 1).map(lambda v: ("i", v)),
    st.integers(-(2**15), 2**15 - 1).map(lambda v: ("n", v)),
    st.integers(0, 255).map(lambda v: ("y", v)),
    st.booleans().map(lambda v: ("b", v)),
    st.floats(allow_nan=False).map(lambda v: ("d", v)),
    st.just(("g", "a(ss)")),
    st.tuples(NUMBER, PATH).map(lambda v: ("(uo)", v)),
    st.lists(TEXT).map(lambda v: ("as", v)),
    st.lists(NUMBER).map(lambda v: ("at", v)),
    st.lists(st.tuples(TEXT, st.lists(TEXT), st.booleans(), NUMBER)).map(lambda v: ("a(sasbt)", v)),
    st.dictionaries(TEXT, TEXT.map(lambda v: ("s", v))).map(lambda v: ("a{sv}", v)),
    st.tuples(st.booleans(), st.lists(TEXT)).map(lambda v: ("(bas)", v)),
    TEXT.map(lambda v: ("v", ("s", v))),
)
PLAIN = {"s", "u", "t", "i", "n", "y", "d", "(uo)"}


def read(parser: Any, message: Message, piece: int = 7) -> Message:
    raw = message.serialise(serial=1)
    for at in range(0, len(raw), piece):
        assert parser.get_next_message() is None
        parser.add_data(raw[at : at + piece])
    return parser.get_next_message()


@given(st.dictionaries(TEXT, VALUES, max_size=8), st.sets(TEXT, max_size=3))
def test_a_change(values: dict[str, tuple[str, Any]], others: set[str]) -> None:
    message = new_signal(ADDRESS, "PropertiesChanged", "sa{sv}as", ("a.b.Unit", values, ["Gone"]))
    wanted = {name for name, (kind, _) in values.items() if kind in PLAIN} | (others - values.keys())
    whole = read(Parser(), message)
    found = read(Reader(wanted), message)
    assert found.header.fields == whole.header.fields
    assert found.body == ("a.b.Unit", {k: v for k, v in whole.body[1].items() if k in wanted}, [])


@given(st.lists(st.tuples(TEXT, TEXT, TEXT, TEXT, TEXT, TEXT, PATH, NUMBER, TEXT, PATH), max_size=5))
def test_a_listing(rows: list[tuple[Any, ...]]) -> None:
    message = new_signal(ADDRESS, "Units", "a(ssssssouso)", (rows,))
    assert read(Reader(()), message).body == ([(r[0], r[2], r[3], r[4]) for r in rows],)


def test_anything_else_is_jeepneys() -> None:
    message = new_signal(ADDRESS, "JobRemoved", "uoss", (7, "/job/7", "a.service", "done"))
    assert read(Reader(()), message).body == (7, "/job/7", "a.service", "done")


FIELDS = {
    HeaderFields.path: PATH,
    **dict.fromkeys((HeaderFields.interface, HeaderFields.member, HeaderFields.error_name), TEXT),
    **dict.fromkeys((HeaderFields.destination, HeaderFields.sender), TEXT),
    HeaderFields.reply_serial: NUMBER,
}
BODIES = st.sampled_from(
    [(None, ()), ("s", ("no é",)), ("o", ("/a",)), ("u", (7,)), ("sb", ("", True)), ("as", (["a"],))]
)


@given(
    st.sampled_from(Endianness),
    st.sampled_from(MessageType),
    NUMBER,
    st.fixed_dictionaries({}, optional=FIELDS),
    BODIES,
)
def test_headers_and_short_answers(
    endianness: Endianness,
    kind: MessageType,
    serial: int,
    fields: dict[HeaderFields, str | int],
    body: tuple[str | None, tuple[object, ...]],
) -> None:
    signature, values = body
    signed = fields if signature is None else {**fields, HeaderFields.signature: signature}
    message = Message(Header(endianness, kind, 1, 1, 0, 0, signed), values)
    raw = message.serialise(serial=serial)
    for parser in (whole := Parser(), reader := Reader(())):
        parser.add_data(raw)
    expected, found = whole.get_next_message(), reader.get_next_message()
    assert found is not None
    assert found.body == expected.body
    assert vars(found.header) == vars(expected.header)
