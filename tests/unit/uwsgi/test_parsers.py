from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.uwsgi import parse_ini, parse_json, parse_xml, parse_yaml
from bridge.uwsgi.options import Config, ConfigError, Option

PARSERS = {"ini": parse_ini.parse, "xml": parse_xml.parse, "yaml": parse_yaml.parse, "json": parse_json.parse}
ALPHABETS = {
    "ini": "[uwsgi]\n;#= \t\r\\",
    "xml": "<uwsgi/>&;!-[]CDATA?'\"= \na",
    "yaml": "uwsgi: \n-[]{},&*!|>'\"#%@a1\t",
    "json": '{"uwsgi":[],}truefalsn0.-eE\\d8 \n/*',
}

PIECES = {
    "ini": ["[uwsgi]\n", "[x]\n", "a", "=", " b ", "\n", ";", "#", "\r\n", "["],
    "xml": ["<uwsgi>", "</uwsgi>", "<a>", "</a>", "x", "<![CDATA[", "]]>", "<!--", "-->", "<app", " id='x'>", "&lt;"],
    "yaml": [
        "uwsgi:\n",
        "  a: 1\n",
        "  b:\n",
        "    - x\n",
        "- y\n",
        "{",
        "}",
        "[",
        "]",
        "&a ",
        "*a",
        "? ",
        "|\n",
        "---\n",
    ],
    "json": ['{"uwsgi":', "{", "}", '"a"', ":", ",", "[", "]", "1", "true", "/*", "*/", "//", "\n", '"\\ud83d\\ude00"'],
}


def pairs(parser: str, text: str, section: str = "uwsgi") -> list[tuple[str, str, int]]:
    return [(o.key, o.value, o.line) for o in PARSERS[parser](text, path="v", section=section)]


def test_ini_lines_and_sections() -> None:
    text = "; c\n[uwsgi]\nsocket = :1\n\n[other]\na = 1\n[uwsgi]\n  b\n"
    assert pairs("ini", text) == [("socket", ":1", 3), ("b", "", 8)]
    assert pairs("ini", text, "other") == [("a", "1", 6)]


def test_yaml_lines() -> None:
    assert pairs("yaml", "uwsgi:\n  a: 1\n  b:\n    - x\n    - y\n") == [("a", "1", 2), ("b", "x", 4), ("b", "y", 5)]


def test_json_lines() -> None:
    assert pairs("json", '{"uwsgi": {\n"a": "1",\n"b": [\ntrue,\n2]}}') == [("a", "1", 2), ("b", "1", 4), ("b", "2", 5)]


def test_xml_lines() -> None:
    assert pairs("xml", "<uwsgi>\n<a>1</a>\n<b/>\n</uwsgi>") == [("a", "1", 2), ("b", "1", 3)]


def test_xml_id_is_the_section() -> None:
    text = "<uwsgi><a>0</a><a id='x'>1</a><a id='y'>2</a></uwsgi>"
    assert pairs("xml", text, "x") == [("a", "0", 1), ("a", "1", 1)]


@pytest.mark.parametrize(
    ("parser", "text", "line"),
    [
        ("yaml", "uwsgi:\n  a: 'x\n", 3),
        ("yaml", 'uwsgi:\n  a: "x\\0y"\n', 2),
        ("yaml", "uwsgi:\n  a: \udcff\n", None),
        ("json", '{"uwsgi": {\n"a": 1,}}', 2),
        ("json", '{"uwsgi": {"a": "\\u0000"}}', 1),
        ("json", '{"uwsgi": {"a": "\\ud800"}}', 1),
        ("json", '{"a": "\udcff"}', None),
        ("json", "[" * 5000, 1),
        ("json", "\n", 2),
        ("xml", "<uwsgi>\n<a>1</b></uwsgi>", 2),
        ("xml", "<uwsgi>\n<a><b/></a></uwsgi>", 2),
        ("xml", "<x> </x>", 1),
        ("xml", "<uwsgi>\udcff</uwsgi>", None),
        ("xml", "<uwsgi>" + "<a>" * 300, 1),
        ("xml", "<!DOCTYPE uwsgi [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><uwsgi><a>&x;</a></uwsgi>", 1),
        ("xml", "<!DOCTYPE uwsgi SYSTEM 'http://127.0.0.1/x.dtd'><uwsgi/>", 1),
        ("xml", "<!DOCTYPE u [<!ENTITY a 'aa'><!ENTITY b '&a;&a;'>]><uwsgi><a>&b;</a></uwsgi>", 1),
    ],
)
def test_errors_tell_the_place_and_nothing_else(parser: str, text: str, line: int | None) -> None:
    with pytest.raises(ConfigError) as caught:
        PARSERS[parser](text, path="v")
    assert caught.value.line == line
    assert caught.value.hint
    assert caught.value.__cause__ is None
    assert "passwd" not in str(caught.value)


@pytest.mark.parametrize("parser", PARSERS)
@given(data=st.data())
def test_arbitrary_text_gives_options_or_a_config_error(parser: str, data: st.DataObject) -> None:
    texts = st.text() | st.text(ALPHABETS[parser]) | st.lists(st.sampled_from(PIECES[parser])).map("".join)
    text = data.draw(texts)
    try:
        options = PARSERS[parser](text, path="v")
    except ConfigError:
        return
    assert all(1 <= o.line <= text.count("\n") + 1 and "\n" not in o.path for o in options)


@pytest.mark.parametrize(
    ("parser", "text"),
    [
        ("ini", "[uwsgi]\n" + "[" * 1_000_000),
        ("ini", "[uwsgi]\n" + "a\n" * 500_000),
        ("yaml", "uwsgi:\n" + "  a: [" * 100_000),
        ("yaml", "uwsgi: " + "[" * 1_000_000),
        ("yaml", "uwsgi: &a [" + "*a," * 300_000),
        ("yaml", "uwsgi: " + "- " * 500_000),
        ("yaml", "uwsgi:\n" + "".join(" " * n + "a:\n" for n in range(1, 1000))),
        ("json", '{"uwsgi": {"a": "' + "\\\\" * 500_000),
        ("json", '{"uwsgi": {"a": [' + "1," * 500_000),
        ("json", "/*" * 500_000),
        ("xml", "<uwsgi><a>" + "x\n" * 500_000),
        ("xml", "<uwsgi><a>" + "&lt;" * 250_000 + "</a></uwsgi>"),
        ("xml", "<uwsgi>" + "<![CDATA[x]]>" * 80_000 + "</uwsgi>"),
        ("xml", "<uwsgi>" + "<a/>" * 250_000 + "</uwsgi>"),
    ],
    ids=range(14),
)
def test_hostile_text_takes_bounded_time(parser: str, text: str) -> None:
    started = time.monotonic()
    with contextlib.suppress(ConfigError):
        PARSERS[parser](text, path="v")
    assert time.monotonic() - started < 20


def flag_of(*values: str) -> bool:
    return Config("v", tuple(Option("master", value, "v", 1) for value in values)).flag("master")


@pytest.mark.parametrize("value", ["", "1", "true", "TRUE", "yes", "2", "00", " false"])
def test_flags_that_are_on(value: str) -> None:
    assert flag_of("0", value)


@pytest.mark.parametrize("value", ["0", "false", "OFF", "No"])
def test_flags_that_are_off(value: str) -> None:
    assert not flag_of("1", value)
    assert not flag_of()


def test_all_and_last() -> None:
    a, b, c = (Option(k, v, "v", n) for n, (k, v) in enumerate([("a", "1"), ("b", "2"), ("a", "3")], start=1))
    config = Config("v", (a, b, c))
    assert list(config.all("a")) == [a, c]
    assert list(config.all("b", "a")) == [a, b, c]
    assert config.last("a") == c
    assert config.last("a", "b") == c
    assert config.last("x") is None


def test_a_config_error_names_its_place() -> None:
    assert str(ConfigError("wrong", "v.ini", 3, "right it")) == "v.ini:3: wrong"
    assert str(ConfigError("wrong", "v.ini")) == "v.ini: wrong"
