from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.vassals.address_hints import MistakeFinder

HOMES = {"ann": "/home/ann", "bob": "/srv/bob"}
WRITTEN = MistakeFinder("ann", HOMES.get)
PRINTED = MistakeFinder("ann", HOMES.get, is_printed=True)

MISTAKES = {
    '"/run/a.sock"': ("quotes", "/run/a.sock"),
    "'/run/a.sock'": ("quotes", "/run/a.sock"),
    '"/run/a.sock': ("quotes", "/run/a.sock"),
    '"127.0.0.1:80"': ("quotes", "127.0.0.1:80"),
    "~/run/a.sock": ("~", "/home/ann/run/a.sock"),
    "~bob/a.sock": ("~", "/srv/bob/a.sock"),
    "~nobody-such/a.sock": ("~", ""),
    "$HOME/run/a.sock": ("$HOME", "/home/ann/run/a.sock"),
    "${HOME}/a.sock": ("${HOME}", "/home/ann/a.sock"),
    "$(HOME)/a.sock": ("$(HOME)", "/home/ann/a.sock"),
    "$RUNTIME_DIRECTORY/a.sock": ("$RUNTIME_DIRECTORY", ""),
    "socket = /run/a.sock": ("name of an option", "/run/a.sock"),
    "socket=/run/a.sock": ("name of an option", "/run/a.sock"),
    "uwsgi-socket = :3031": ("name of an option", ":3031"),
    "ListenStream=/run/a.sock": ("name of an option", "/run/a.sock"),
    "unix:/run/a.sock": ("scheme", "/run/a.sock"),
    "unix:///run/a.sock": ("scheme", "/run/a.sock"),
    "# /run/a.sock": ("is a comment", ""),
    "; none": ("is a comment", ""),
    'socket = "~/run/a.sock"': ("name of an option", "/home/ann/run/a.sock"),
    "socket = # none": ("", ""),
}
ONLY_WRITTEN = {
    "/run/a.sock # of a": ("comment behind", "/run/a.sock"),
    "/run/a.sock #of a": ("comment behind", "/run/a.sock"),
    "/run/a.sock ; of a": ("comment behind", "/run/a.sock"),
    ":80  #": ("comment behind", ":80"),
    "/run/$USER/a.sock": ("$USER", "/run/ann/a.sock"),
    "/run/${UID}/a.sock": ("${UID}", ""),
    'socket = "$HOME/a.sock" # c': ("comment behind", "/home/ann/a.sock"),
}
FINE = [
    *(
        "/run/a.sock",
        "run/a.sock",
        "@a",
        "@~",
        "@$HOME",
        ":80",
        "127.0.0.1:80",
        "[::1]:80",
        "80",
        "",
        "/run/a b",
        "a=b",
    ),
    *(
        "/run/a#b",
        "/run/a #$",
        "/run/it's",
        '/run/a"b',
        "/run/a~",
        "/run/~a",
        "/run/a$b",
        "/run/$",
        "/run/a$HOME",
        "./~/a",
    ),
]


@pytest.mark.parametrize("text", [*MISTAKES, *ONLY_WRITTEN])
def test_what_is_no_part_of_an_address(text: str) -> None:
    words, meant = {**MISTAKES, **ONLY_WRITTEN}[text]
    found = WRITTEN.find(text)
    assert found is not None
    assert words in found.message
    assert found.meant == meant


@pytest.mark.parametrize("text", FINE)
def test_what_may_be_an_address(text: str) -> None:
    assert WRITTEN.find(text) is None
    assert PRINTED.find(text) is None


@pytest.mark.parametrize("text", [*MISTAKES, *ONLY_WRITTEN])
def test_what_a_program_prints_may_have_any_name_in_it(text: str) -> None:
    assert (PRINTED.find(text) is None) == (text in ONLY_WRITTEN and not text.startswith("socket"))


@given(
    st.lists(st.sampled_from([*"\"'`~$#;/ ={}()ab", "socket", "unix:", "$HOME", "~/", " # ", "${USER}"])).map("".join)
)
def test_what_is_meant_has_no_mistake(text: str) -> None:
    for finder in (WRITTEN, PRINTED):
        if (found := finder.find(text)) and found.meant:
            assert finder.find(found.meant) is None
