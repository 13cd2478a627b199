"""Configs of a megabyte that are made to cost as much as they can: each is read, or refused, within one budget."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from bridge.uwsgi.budget import MAX_WORK
from bridge.uwsgi.options import ConfigError
from bridge.uwsgi.reader import MAX_BYTES, ProcessView, _Reading, _Section

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 980_000
OPTIONS = "a=1\n" * 9990
MOST_SECONDS = 10
"""A quiet machine needs less than one. Without the budget, many of these take minutes or hours."""


def fill(unit: str, size: int = SIZE) -> str:
    return unit * (size // len(unit))


INI = {
    "blank lines": fill("\n"),
    "short lines": "[uwsgi]\n" + fill("a\n"),
    "another section": "[x]\n" + fill("a=1\n"),
    "blacklist": f"[uwsgi]\nblacklist = {fill('b ', 900_000)}\n{OPTIONS}",
    "blacklists": f"[uwsgi]\nfor = {fill('b ', 2000)}\nblacklist = {fill('c ', 900_000)}\n",
    "whitelist": f"[uwsgi]\nwhitelist = {fill('b ', 900_000)} a\n{OPTIONS}",
    "a loop over blanks": f"[uwsgi]\nfor = {' ' * 900_000}x\n{OPTIONS}",
    "a loop over nothing": f"[uwsgi]\nfor-times = 0\n{fill('a=1' + chr(10), 900_000)}",
    "a long condition": f"[uwsgi]\nif-opt = {'x' * 900_000}\n{OPTIONS}",
    "a file's condition": f"[uwsgi]\nif-file = /etc/passwd\n{OPTIONS}",
    "many files' conditions": "[uwsgi]\n" + "".join(f"if-exists = /{n}\nendif\n" for n in range(30_000)),
    "a declared option of nothing": f"[uwsgi]\ndeclare-option = a={';' * 900_000}\n{OPTIONS}",
    "a declared option": f"[uwsgi]\ndeclare-option = a={fill('b=$1;', 900_000)}\n{fill('a=1 2 3' + chr(10), 50_000)}",
    "percent signs": "[uwsgi]\na=" + fill("%%"),
    "no variables": "[uwsgi]\na=" + fill("%q"),
    "line breaks behind percent signs": "[uwsgi]\na=" + fill("%\n"),
    "placeholders": "[uwsgi]\nb=1\na=" + fill("%(b)"),
    "unknown placeholders": "[uwsgi]\na=" + fill("%(c)"),
    "open placeholders": "[uwsgi]\na=" + fill("%("),
    "a placeholder of words": f"[uwsgi]\na=%({fill('b ')})",
    "a placeholder of blanks": f"[uwsgi]\na=%({' ' * SIZE})",
    "doubling": "[uwsgi]\na0=x\n" + "".join(f"a{n}=%(a{n - 1})%(a{n - 1})\n" for n in range(1, 60)),
    "variables": "[uwsgi]\na=" + fill("$(HOME)"),
}
JSON = {
    "numbers": '{"uwsgi":{"a":[' + fill("0,") + "0]}}",
    "lines": '{"uwsgi":{"a":[' + fill("0,\n") + "0]}}",
    "lists": '{"uwsgi":{"a":[' + fill("[],") + "0]}}",
    "objects": '{"uwsgi":{' + fill('"a":{},') + '"b":1}}',
    "text": '{"uwsgi":{"a":"' + "x" * SIZE + '"}}',
    "escapes": '{"uwsgi":{"a":"' + fill("\\n") + '"}}',
    "open text": '{"uwsgi":{"a":"' + fill("\\n"),
    "comments": fill("/**/"),
    "an open comment": "/*" + fill("* "),
    "a number": '{"uwsgi":{"a":' + "1" * SIZE + "}}",
    "depth": "[" * SIZE,
}
YAML = {
    "flow": "uwsgi:\n  a: [" + fill("a,") + "a]\n",
    "block": "uwsgi:\n  a:\n" + fill("  - a\n"),
    "dashes": fill("- "),
    "keys": "uwsgi:\n" + fill(" a: b\n"),
    "text": "uwsgi:\n  a: " + fill("x y ") + "\n",
    "folded": "uwsgi:\n  a: >\n" + fill("    x\n"),
    "quoted": 'uwsgi:\n  a: "' + fill("\\n") + '"\n',
    "anchors": "uwsgi:\n  a: [" + fill("&a ") + "]\n",
    "depth": "uwsgi:\n" + fill("["),
    "depth and width": "[" * 100 + fill("a,"),
    "documents": fill("---\n"),
    "questions": fill("? "),
}
XML = {
    "elements": "<uwsgi>" + fill("<a/>") + "</uwsgi>",
    "text": "<uwsgi><a>" + "x" * SIZE + "</a></uwsgi>",
    "attributes": "<uwsgi><a " + " ".join(f'a{n}=""' for n in range(90_000)) + "/></uwsgi>",
    "elements with attributes": "<uwsgi>" + fill("<a b='' c='' d='' e=''/>") + "</uwsgi>",
    "sections": "<uwsgi>" + fill("<![CDATA[a]]>") + "</uwsgi>",
    "sections and text": "<uwsgi><a>" + fill("<![CDATA[]]>x") + "</a></uwsgi>",
    "comments": "<uwsgi>" + fill("<!---->") + "</uwsgi>",
    "references": "<uwsgi><a>" + fill("&amp;") + "</a></uwsgi>",
    "instructions": "<uwsgi>" + fill("<?a?>") + "</uwsgi>",
    "a long name": "<" + "a" * SIZE + "/>",
    "namespaces": "<uwsgi>" + fill("<a:b xmlns:a='x'/>") + "</uwsgi>",
}
CASES = [
    (f"v.{suffix}", text, name)
    for suffix, cases in (("ini", INI), ("json", JSON), ("yaml", YAML), ("xml", XML))
    for name, text in cases.items()
]


@pytest.mark.parametrize(("name", "text"), [case[:2] for case in CASES], ids=[f"{c[0]}: {c[2]}" for c in CASES])
def test_a_megabyte(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert path.stat().st_size <= MAX_BYTES
    reading = _Reading(_Section(str(path)), ProcessView(environ={"HOME": "/home/x"}), MAX_BYTES)
    began = time.process_time()
    with contextlib.suppress(ConfigError):
        assert len(reading.config().options) <= 10_000
    assert time.process_time() - began < MOST_SECONDS
    # The last step that is charged may go beyond the bound; it is not done then.
    assert reading._budget.spent <= MAX_WORK + 2 * SIZE * 50


def test_many_lines_in_a_name(tmp_path: Path) -> None:
    path = tmp_path / ("v" + "\n" * 200 + ".ini")
    path.write_text("[uwsgi]\n" + fill("%n", 500_000))
    reading = _Reading(_Section(str(path)), ProcessView(environ={}), MAX_BYTES)
    with pytest.raises(ConfigError):
        reading.config()


def test_all_files_share_one_budget(tmp_path: Path) -> None:
    (tmp_path / "more.json").write_text('{"uwsgi":{"a":[' + "[]," * 1000 + "0]}}")
    path = tmp_path / "v.ini"
    path.write_text("[uwsgi]\n" + "include = more.json\n" * 90)
    reading = _Reading(_Section(str(path)), ProcessView(environ={}), MAX_BYTES)
    with pytest.raises(ConfigError, match="too long to read"):
        reading.config()


def test_without_libyaml_less_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    path = tmp_path / "v.yaml"
    path.write_text("uwsgi:\n  a: 1\n")
    view = ProcessView(environ={})
    assert [o.value for o in _Reading(_Section(str(path)), view, MAX_BYTES).config().options] == ["1"]
    path.write_text("uwsgi:\n  a: " + fill("x "))
    with pytest.raises(ConfigError, match="too long to read"):
        _Reading(_Section(str(path)), view, MAX_BYTES).config()
