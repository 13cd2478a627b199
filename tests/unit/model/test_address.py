from __future__ import annotations

import itertools
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.model.address import (
    AbstractAddress,
    Address,
    AddressError,
    InetAddress,
    UnixAddress,
    collision_key,
    overlaps,
    parse_address,
    parse_uwsgi_socket,
)


def inet(ip: str, port: int) -> InetAddress:
    return InetAddress(ip_address(ip), port)


def parse(text: str) -> Address:
    return parse_address(text, base="/v/b")


@pytest.mark.parametrize(
    ("text", "meant", "written"),
    [
        ("/run/a.sock", UnixAddress("/run/a.sock"), "/run/a.sock"),
        ("//run///a.sock", UnixAddress("/run/a.sock"), "/run/a.sock"),
        ("/run/./x/../a.sock", UnixAddress("/run/a.sock"), "/run/a.sock"),
        ("/run/a:80", UnixAddress("/run/a:80"), "/run/a:80"),
        ("a.sock", UnixAddress("/v/b/a.sock"), "/v/b/a.sock"),
        ("./9000", UnixAddress("/v/b/9000"), "/v/b/9000"),
        ("../a.sock", UnixAddress("/v/a.sock"), "/v/a.sock"),
        ("/" + "a" * 106, UnixAddress("/" + "a" * 106), "/" + "a" * 106),
        ("/" + "é" * 53, UnixAddress("/" + "é" * 53), "/" + "é" * 53),
        ("@app", AbstractAddress("app"), "@app"),
        ("@a/b:80", AbstractAddress("a/b:80"), "@a/b:80"),
        ("@" + "a" * 107, AbstractAddress("a" * 107), "@" + "a" * 107),
        ("127.0.0.1:9000", inet("127.0.0.1", 9000), "127.0.0.1:9000"),
        (":9002", inet("0.0.0.0", 9002), "0.0.0.0:9002"),
        ("0.0.0.0:9002", inet("0.0.0.0", 9002), "0.0.0.0:9002"),
        ("[::]:9002", inet("::", 9002), "[::]:9002"),
        ("[::1]:1", inet("::1", 1), "[::1]:1"),
        ("[0:0::1]:65535", inet("::1", 65535), "[::1]:65535"),
        ("[::ffff:127.0.0.1]:80", inet("127.0.0.1", 80), "127.0.0.1:80"),
    ],
)
def test_forms(text: str, meant: Address, written: str) -> None:
    assert parse(text) == meant
    assert str(meant) == written
    assert parse(written) == meant


@pytest.mark.parametrize(
    ("text", "why", "hint"),
    [
        ("9000", "is a number", "write :9000"),
        ("/run/", "names a folder", "not its folder"),
        ("sub/", "names a folder", "not its folder"),
        ("/.", "names a folder", "not its folder"),
        ("/run/..", "names a folder", "not its folder"),
        (".", "names a folder", "not its folder"),
        ("/" + "a" * 107, "has 108 bytes", "shorter"),
        ("/" + "é" * 54, "has 109 bytes", "shorter"),
        ("@", "names no abstract socket", "@NAME"),
        ("@" + "a" * 108, "has 108 bytes", "shorter"),
        ("127.0.0.1:", "no port number", "IP:PORT"),
        ("127.0.0.1:x", "no port number", "IP:PORT"),
        ("127.0.0.1:\u0661", "no port number", "IP:PORT"),
        ("127.0.0.1:+80", "no port number", "IP:PORT"),
        ("[::1]", "no port number", ""),
        (":0", "out of range", "1 to 65535"),
        (":65536", "out of range", "1 to 65535"),
        (":" + "9" * 5000, "out of range", "1 to 65535"),
        ("localhost:80", "not a numeric", "127.0.0.1"),
        ("256.0.0.1:80", "not a numeric", "127.0.0.1"),
        ("127.1:80", "not a numeric", "127.0.0.1"),
        ("010.0.0.1:80", "not a numeric", "127.0.0.1"),
        ("::1:80", "no brackets", "[::1]:80"),
        ("[127.0.0.1]:80", "not an IPv6", "127.0.0.1:80"),
        ("[]:80", "not a numeric", "127.0.0.1"),
        ("http://x", "no port number", "IP:PORT"),
        ("[fe80::1%eth0]:80", "has a scope", "without one"),
    ],
)
def test_errors(text: str, why: str, hint: str) -> None:
    with pytest.raises(AddressError, match=why) as caught:
        parse(text)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("localhost:80", inet("127.0.0.1", 80)),
        ("*:80", inet("0.0.0.0", 80)),
        (":80", inet("0.0.0.0", 80)),
        ("/run/a", UnixAddress("/run/a")),
        ("a.sock", UnixAddress("/v/b/a.sock")),
        ("@a", AbstractAddress("a")),
        ("@localhost:80", AbstractAddress("localhost:80")),
        ("example.org:80", None),
        ("10.0.*:80", None),
        (":0", None),
    ],
)
def test_what_uwsgi_binds(text: str, meant: Address | None) -> None:
    assert parse_uwsgi_socket(text, base="/v/b") == meant


OVERLAPPING = [
    {"/v/b/a.sock", "//v/b/a.sock", "a.sock", "/v/b/../b/./a.sock"},
    {":80", "0.0.0.0:80", "127.0.0.1:80"},
    {"[::]:80", ":80", "[::ffff:0.0.0.0]:80"},
    {"[::]:80", "[::1]:80"},
    {"[::]:80", "127.0.0.1:80", "[::ffff:127.0.0.1]:80"},
    {"@a"},
]
APART = [
    ("/v/b/a.sock", "@/v/b/a.sock"),
    (":80", ":81"),
    ("127.0.0.1:80", "127.0.0.2:80"),
    ("0.0.0.0:80", "[::1]:80"),
    ("[::1]:80", "127.0.0.1:80"),
    ("/run/a", "/run/A"),
    ("@a", "@b"),
    ("@:80", ":80"),
]


@pytest.mark.parametrize(
    ("one", "other"), [pair for group in OVERLAPPING for pair in itertools.product(sorted(group), repeat=2)]
)
def test_overlapping(one: str, other: str) -> None:
    assert overlaps(parse(one), parse(other))


@pytest.mark.parametrize(("one", "other"), [*APART, *((b, a) for a, b in APART)])
def test_apart(one: str, other: str) -> None:
    assert not overlaps(parse(one), parse(other))


IPS = st.sampled_from(["0.0.0.0", "::", "::1", "127.0.0.1", "10.0.0.1", "fe80::1"]) | st.ip_addresses().map(str)
ADDRESSES = (
    st.builds(inet, IPS, st.integers(1, 3))
    | st.sampled_from(["/a", "/b"]).map(UnixAddress)
    | st.sampled_from(["/a", "b", ":1"]).map(AbstractAddress)
)


@given(ADDRESSES, ADDRESSES)
def test_overlap_is_symmetric_and_found_by_its_key(one: Address, other: Address) -> None:
    assert overlaps(one, other) == overlaps(other, one)
    assert overlaps(one, one)
    if overlaps(one, other):
        assert collision_key(one) == collision_key(other)


@given(st.builds(inet, IPS, st.integers(1, 65535)))
def test_inet_round_trip(address: InetAddress) -> None:
    again = parse(str(address))
    assert isinstance(again, InetAddress)
    mapped = getattr(address.ip, "ipv4_mapped", None)
    assert again == InetAddress(mapped or address.ip, address.port)
