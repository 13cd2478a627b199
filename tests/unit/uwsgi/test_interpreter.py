from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.uwsgi import magic_variables, parse_ini
from bridge.uwsgi.budget import MAX_OPTIONS, MAX_TEXT
from bridge.uwsgi.conditions import Surroundings
from bridge.uwsgi.interpreter import Process
from bridge.uwsgi.options import Config, ConfigError, Option
from bridge.uwsgi.socket_options import sockets

if TYPE_CHECKING:
    from pathlib import Path


def interpreted(options: list[Option], around: Surroundings) -> list[Option]:
    process = Process(around)
    process.environment()
    process.config("ini", "v.ini")
    process.add(options)
    return process.finish()


def resolved(text: str, **environ: str) -> list[tuple[str, str, int]]:
    options = parse_ini.parse("[uwsgi]\n" + text, path="v.ini")
    return [(o.key, o.value, o.line) for o in interpreted(options, Surroundings(environ=environ))]


def unread(text: str) -> list[tuple[str, int]]:
    process = Process(Surroundings(environ={}))
    process.add(parse_ini.parse("[uwsgi]\n" + text, path="v.ini"))
    process.finish()
    return [(o.key, o.line) for o in process.unread]


def test_lines_survive() -> None:
    text = "base = /x\nfor = a b\nsocket = %(base)/%(_)\nendfor\nif-not-env = UWSGI_EMPEROR_FD\nhttp = :1\nendif\n"
    assert resolved(text) == [("base", "/x", 2), ("socket", "/x/a", 4), ("socket", "/x/b", 4), ("http", ":1", 7)]


def test_options_from_the_environment_come_first() -> None:
    environ = {"UWSGI_HTTP_SOCKET": ":1", "UWSGI_EMPEROR_FD": "5", "OTHER": "x"}
    found = interpreted([Option("a", "%(http-socket)", "v.ini", 2)], Surroundings(environ=environ))
    assert found == [Option("http-socket", ":1", "$UWSGI_HTTP_SOCKET", 1), Option("a", ":1", "v.ini", 2)]


def test_files_are_asked_only_through_the_callables() -> None:
    asked = []

    def exists(path: str) -> bool:
        asked.append(path)
        return True

    options = parse_ini.parse("[uwsgi]\nif-exists = /a\nx = %(_)\nendif\nif-file = /b\ny = 1\nendif\n", path="v")
    found = interpreted(options, Surroundings(environ={}, exists=exists))
    assert [(o.key, o.value) for o in found] == [("x", "/a")]
    assert set(asked) == {"/a"}


def test_without_access_to_files_nothing_is_read(tmp_path: Path) -> None:
    (tmp_path / "more.ini").write_text("[uwsgi]\nb = 1\n")
    text = f"[uwsgi]\na = %o %n.\ninclude = {tmp_path}/more.ini\nif-file = /etc/passwd\nc = 1\nendif\n"
    written = magic_variables.substitute(text.encode(), {"o": "pg-vassal"}, path="pg-vassal").data.decode()
    process = Process(Surroundings(environ={}))
    process.add(parse_ini.parse(written, path="pg-vassal"))
    options = process.finish()
    assert options[0].value == "pg-vassal ."
    assert [o.key for o in options] == ["a", "include"]
    assert [o.key for o in process.unread] == ["include"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("include = /etc/shadow\n", [("include", 2)]),
        ("if-plugin = python\nsocket = :1\nendif\n", [("if-plugin", 2), ("socket", 3)]),
        ("if-not-hostname-match = (a+)+$\nsocket = :1\nendif\n", [("if-not-hostname-match", 2), ("socket", 3)]),
        ("for-readline = /etc/shadow\nx = %(_)\nendfor\n", [("for-readline", 2), ("x", 3)]),
        ("for-glob = /root/*\nx = %(_)\nendfor\n", [("for-glob", 2), ("x", 3)]),
        ("socket = @(/etc/shadow)\n", [("socket", 2)]),
        ("resolve = x=example.com\nearly-envdir = /root\n", [("resolve", 2), ("early-envdir", 3)]),
    ],
)
def test_what_only_the_process_may_read_is_named(text: str, expected: list[tuple[str, int]]) -> None:
    assert unread(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"x{n} = {f'%(x{n + 1})' * 10}\n" for n in range(30)) + "x30 = aaaaaaaaaa\n",
        "".join(f"x{n} = -{f'%(x{n - 1})' * 10}\n" for n in range(1, 30)),
        "a = x%(a)\n",
        "a = x%(b)\nb = y%(a)%(a)\n",
        "for-times = 999999999\nx = %(_)\nendfor\n",
        "for = " + "a " * 100_000 + "\nx = " + "%(_)" * 1000 + "\nendfor\n",
        "if-env = BIG\nx = " + "%(_)" * 100_000 + "\nendif\n",
        "declare-option = a=a=1\na = 1\n",
        "declare-option = a=" + "x=$1;" * 100_000 + "\n" + "a = 1\n" * 1000,
        "declare-option = a=x=$1\na = " + "y " * 100_000 + "\n",
        "a = " + "%(no)" * 100_000 + "%(b)" * 1000 + "\nb = 1\n",
        "a = " + "%(" * 300_000 + "\n",
        "a = " + "%(b " * 100_000 + ")" * 100_000 + "\nb = 1\n",
        "a = %(" + "b " * 300_000 + ")\nb = " + "1" * 1000 + "\n",
        "a = " + "%(" + "(" * 300_000 + ")" * 299_999 + "\n",
        "b = 1\n" + "a = " + "%(b)" * 200_000 + "\n",
    ],
    ids=range(16),
)
def test_hostile_expansion_is_bounded(text: str) -> None:
    started = time.monotonic()
    with contextlib.suppress(ConfigError):
        found = resolved(text, BIG="x" * 100_000)
        assert len(found) <= MAX_OPTIONS
        assert sum(len(key) + len(value) for key, value, _ in found) <= MAX_TEXT
    assert time.monotonic() - started < 20


def test_an_endless_variable_in_the_environment() -> None:
    with pytest.raises(ConfigError):
        resolved("a = $(A)\n", A="x$(A)")


PIECES = ["a", "b", " = ", "%(", "$(", "@(", ")", " ", "++", "+", "-", "*", "/", "9", "\n", "%(_)", "1", ";", "$1"]
KEYS = ["for", "for-times", "endfor", "if-opt", "if-not-opt", "if-env", "endif", "set", "set-ph", "declare-option"]
LINES = st.tuples(st.sampled_from([*KEYS, "a", "b"]), st.lists(st.sampled_from(PIECES), max_size=8).map("".join))


@given(st.lists(LINES, max_size=20))
def test_any_logic_gives_options_or_a_config_error(lines: list[tuple[str, str]]) -> None:
    try:
        found = resolved("".join(f"{key} = {value}\n" for key, value in lines), a="1", b="x%(a)$(a)")
    except ConfigError:
        return
    assert all(line >= 1 for _, _, line in found)


@given(st.binary() | st.lists(st.sampled_from([b"%", b"\n", b"n", b"x", b"%%", b"%p", b"("])).map(b"".join))
def test_magic_keeps_count_of_lines(data: bytes) -> None:
    values = magic_variables.table(magic_variables.Source(filename="v.ini", real="/srv/v.ini"))
    text = magic_variables.substitute(data, values, path="v.ini")
    assert len(text.lines) == text.data.count(b"\n") + 1
    assert list(text.lines) == sorted(text.lines)
    assert text.lines[-1] <= data.count(b"\n") + 1
    if b"%" not in data:
        assert text.data == data


def test_magic_that_swallows_a_line_break() -> None:
    text = magic_variables.substitute(b"a%\nb\nc", {}, path="v")
    assert (text.data, text.lines) == (b"ab\nc", (1, 3))


def test_magic_is_bounded() -> None:
    with pytest.raises(ConfigError):
        magic_variables.substitute(b"%p" * 500_000, {"p": "/" + "x" * 4000}, path="v")


def test_unknown_magic_is_left_alone() -> None:
    source = magic_variables.Source(filename="v", real="/v")
    assert magic_variables.substitute(b"%u %t %q.", magic_variables.table(source), path="v").data == b"%u %t ."
    known = magic_variables.table(source, known={"u": "33"})
    assert magic_variables.substitute(b"%u", known, path="v").data == b"33"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("socket", "127.0.0.1:3031", ["127.0.0.1:3031"]),
        ("socket", "  /run/x.sock", ["/run/x.sock"]),
        ("http-socket", ":8080", [":8080"]),
        ("http", "=0", []),
        ("socket", "fd://3", []),
        ("socket", "=1", []),
        ("socket", "", []),
        ("socket", "@(/etc/address)", []),
        ("https-socket", ":443,cert.pem,key.pem,HIGH", [":443"]),
        ("https", "=0,cert.pem,key.pem", []),
        ("https2", "cert=c,key=k,addr=[::]:443", ["[::]:443"]),
        ("http-to-https", ":80,443", [":80"]),
        ("shared-socket", "0.0.0.0:80", ["0.0.0.0:80"]),
        ("undeferred-shared-socket", ":81", [":81"]),
        ("stats", "/run/stats", ["/run/stats"]),
        ("fastrouter-ss", ":5", [":5"]),
        ("http-subscription-server", ":6", [":6"]),
        ("zergpool", "/run/z:/run/a,/run/b", ["/run/z", "/run/a", "/run/b"]),
        ("tuntap-router", "uwsgi0 /run/tap /run/st", ["/run/tap", "/run/st"]),
        ("s", ":1", []),
        ("chmod-socket", "660", []),
        ("http-timeout", "5", []),
    ],
)
def test_sockets(key: str, value: str, expected: list[str]) -> None:
    found = list(sockets(Config("v", (Option(key, value, "v", 7),))))
    assert found == [Option(key, address, "v", 7) for address in expected]
