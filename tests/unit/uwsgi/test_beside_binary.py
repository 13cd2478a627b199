"""What the bridge makes of configs, beside what Debian's uWSGI makes of the same files.

uWSGI prints the options it took with --show-config, and then leaves without opening a socket because its clock is
one that does not exist.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from bridge.uwsgi import option_tables, reader
from bridge.uwsgi.options import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

UWSGI = "/usr/bin/uwsgi"
ENVIRON = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "WHO": "tenant", "EMPTY": "", "LOOKS": "x%(n)y"}
LOGIC = option_tables.LOOPS | option_tables.TESTS.keys() | option_tables.ENDS
OPTIONS = {"ini": "--ini", "xml": "--xml", "yaml": "--yaml", "yml": "--yaml", "json": "--json", "js": "--json"}

INI = {
    "plain": "[uwsgi]\nsocket = 127.0.0.1:3031\nmaster = true\nprocesses = 4\n",
    "no-value": "[uwsgi]\nmaster\nvacuum =\n",
    "no-newline-at-end": "[uwsgi]\nmaster = 1",
    "comments": "; a\n# b\n[uwsgi]\n  ; c\n\t# d\nx = 1 ; not a comment\ny = 2 # nor this\n;z = 3\n",
    "blanks": "  [uwsgi]  \n\t a  =   b c \t\r\nd=e\r\n   = empty key\n",
    "several-equals": "[uwsgi]\na = b=c = d\nenv = X=1\n",
    "other-sections": "a = 0\n[other]\na = 1\n[uwsgi]\na = 2\n[more]\na = 3\n[uwsgi]\na = 4\n",
    "header-with-comment": "[uwsgi] ; main\na = 1\n[uwsgi]\nb = 2\n",
    "header-unclosed": "[uwsgi\na = 1\n[uwsgix\nb = 2\n[\nc = 3\n[]\nd = 4\n",
    "no-section": "a = 1\n",
    "empty": "",
    "repeated": "[uwsgi]\na = 1\nb = 2\na = 3\n",
    "no-continuation": "[uwsgi]\na = 1 \\\n   2\nb = 3\n",
    "odd-bytes": "[uwsgi]\na = caf\udcc3\udca9 \udcff\nb = \u20ac\n",
    "vertical-tab": "[uwsgi]\na = \x0bb\x0c\nc = 1\x1c\x85\u2028d\n",
    "magic": "[uwsgi]\na = %n %s %d %p %e %c %x. %0 %1 %2 %9 %o\nb = %N %S %D %P %E %C %X. %O\n",
    "magic-computed": "[uwsgi]\na = %j %J %i %I %h %k %v\n",
    "magic-unfilled": "[uwsgi]\na = 1%q2 %% %%n %%%n 100%\nb = %[ %zc\nd = %\u20ac\nlast = 1\n",
    "placeholders": "[uwsgi]\nbase = /srv\nname = app\nchdir = %(base)/%(name)\nx = %(nothing) %(base\n",
    "placeholder-later": "[uwsgi]\na = <%(b)>\nb = <%(c)>\nc = end\n",
    "placeholder-first-counts": "[uwsgi]\na = 1\na = 2\nb = %(a)\n",
    "placeholder-at-start": "[uwsgi]\na = %(b)\nb = %(c)\nc = 3\nd = -%(b)\n",
    "placeholder-nested": "[uwsgi]\na = b\nb = 5\nx = %(%(a))\ny = <%(%(a))>\nz = <%(a(c)d)> %() %( )\n",
    "placeholder-name": "[uwsgi]\na = %(ini)\nb = %(a)\n",
    "arithmetic": (
        "[uwsgi]\np = 2\nq = 8\na = %(p q)\nb = %(p q + 2)\nc = %(p + q)\nd = %(p - q)\ne = %(p * q * 3)\n"
        "f = %(q / p)\ng = %(q / 0)\nh = %(p ++)\ni = %(p -- q)\nj = %(p + nothing)\nk = %(7 / -2) %(x +)\n"
        "l = %(p - q - q / 3)\nm = %(9223372036854775807 + 1) %(99999999999999999999 - 0)\nn = %(p  +  1 q)\n"
    ),
    "environment": "[uwsgi]\na = $(WHO) $(EMPTY). $(NOT_THERE) $WHO\nb = $(LOOKS)\nn = 7\nc = %(a)\n",
    "environment-not-yet": "[uwsgi]\nenv = LATER=1\na = $(LATER)\nif-env = LATER\nb = 1\nendif =\n",
    "set": "[uwsgi]\nset = a=1\nset-ph = ph=$(WHO)\nset-placeholder = b = c\nx = %(ph) %(a) %( b )\n",
    "immediate-keeps-placeholders": "[uwsgi]\nn = 5\nplugins-dir = /%(n)\nprocname = %(n)\nset = z=%(n)\n",
    "if-env": "[uwsgi]\nif-env = WHO\na = %(_)\nendif =\nif-env = NOT\nb = 1\nendif =\nc = 1\n",
    "if-env-value": "[uwsgi]\nif-env = WHO=tenant\na = %(_)\nend-if =\nif-env = WHO=other\nb = 1\nend-if =\n",
    "if-not-env": (
        "[uwsgi]\nif-not-env = UWSGI_EMPEROR_FD\nsocket = /tmp/x.sock\nend-if =\nif-not-env = WHO\na = 1\nend =\n"
        "if-not-env = WHO=other\nb = %(_)\nendif\nif-not-env = WHO=tenant\nc = 1\nendif\n"
    ),
    "ifenv": "[uwsgi]\nifenv = WHO\na = 1\nendif\nifenv = NOT\nb = 1\nendif\n",
    "if-opt": "[uwsgi]\nx = 1\nif-opt = x\na = %(_)\nendif\nif-opt = x=2\nb = 1\nendif\nif-opt = x=1\nc = 1\nendif\n",
    "if-not-opt-changes": "[uwsgi]\nif-not-opt = a\na = 1\nb = 1\nendif\nif-not-opt = a=2\nc = %(_)\nendif\n",
    "if-reload": "[uwsgi]\nif-reload = \na = 1\nendif\nif-not-reload = \nb = %(_)\nendif\n",
    "if-file": (
        "[uwsgi]\nif-file = there\na = %(_)\nendif\nif-file = folder\nb = 1\nendif\nif-not-file = folder\nc = 1\n"
        "endif\nif-dir = folder\nd = %(_)\nendif\nif-not-dir = there\ne = 1\nendif\nifdir = /\nf = 1\nendif\n"
        "if-directory = nowhere\ng = 1\nendif\n"
    ),
    "if-exists": (
        "[uwsgi]\nif-exists = there\na = 1\nendif\nif-exists = nowhere\nb = 1\nendif\nif-not-exists = folder\n"
        "c = 1\nendif\nifexists = folder\nd = %(_)\nendif\nif-exists = \ne = 1\nendif\n"
    ),
    "if-hostname": "[uwsgi]\nif-hostname = %h\na = %(_)\nendif\nif-not-hostname = %h\nb = 1\nendif\n",
    "if-in-false-if": "[uwsgi]\nif-env = NOT\nif-env = WHO\na = 1\nendif\nb = 1\nendif\nc = 1\n",
    "if-not-ended": "[uwsgi]\nif-env = WHO\na = 1\n",
    "placeholder-in-condition": "[uwsgi]\nw = WHO\nif-env = %(w)\na = 1\nendif\nif-env = $(WHO)\nb = 1\nendif\n",
    "for": "[uwsgi]\nfor = a  b c\nx-%(_) = 1\ny = %(_)-%(_)\nendfor =\nfor =\nz = 1\nend-for\n",
    "for-times": (
        "[uwsgi]\nfor-times = 3\na = n%(_)\nendfor\nfor-times = -1\nb = 1\nendfor\nfor-times = 2x\nc = 1\nend\n"
    ),
    "for-set": "[uwsgi]\nfor = a b\nset = %(_)=<%(_)>\nendfor\nx = %(a)%(b)\n",
    "include": "[uwsgi]\na = 1\ninclude = more.ini\nb = %(more)\n",
    "include-in-body": (
        "[uwsgi]\nif-env = WHO\ninclude = more.ini\nendif\nfor = more.ini more.yaml\ninclude = %(_)\nendfor\n"
    ),
    "include-in-false-body": "[uwsgi]\nif-env = NOT\ninclude = nowhere.ini\nendif\na = 1\n",
    "include-formats": (
        "[uwsgi]\ninclude = more.xml\ninclude = more.json\nyaml = more.yaml\nyml = more.yaml\nxml = more.xml\n"
    ),
    "include-section": "[uwsgi]\nini = more.ini:other\nini = :second\nini = more.ini\n[second]\nz = 1\n",
    "include-own-section": "[uwsgi]\nini = :second\n[second]\nz = %x\n",
    "inherit": "[uwsgi]\nbase = 1\ninherit = more.ini\nb = %(more)\nenv = LATER=1\ninherit = late.ini\n",
    "files": (
        "[uwsgi]\na = <@(text)>\nb = @(there).\nc = @()x@(\nf = te\nset = e=@(crlf)\ng = @($(WHO))\n"
        "h = @(refers) @(text\nif-env = WHO\ni = @(text)\nendif =\nprocname = @(text)\n"
    ),
    "lists": "[uwsgi]\nblacklist = a b\nc = 1\nend-blacklist =\na = 1\n",
}
"""Files named as their test, each read in a folder with FILES."""

FILES = {
    "there": "",
    "text": "one\ntwo\n\n",
    "crlf": "line\r\n",
    "tenant": "by $(WHO)",
    "refers": "%(f) $(WHO) @(text)",
    "more.ini": "[uwsgi]\nmore = %n/%N %(base)\n[other]\no = %x %X.\n[second]\nz = other file\n",
    "late.ini": "[uwsgi]\nif-env = LATER\nlate = %(base)\nendif\n",
    "more.yaml": "uwsgi:\n  y: %n/%N\n",
    "more.xml": "<uwsgi><x>%n</x></uwsgi>",
    "more.json": '{"uwsgi": {"j": "%n"}}',
}

OTHERS = {
    "plain.yaml": "uwsgi:\n  socket: 127.0.0.1:3031\n  master: true\n  n: 010\n",
    "list.yaml": "uwsgi:\n  a:\n    - 1\n    - 2\n  b: [3, '4']\n  c: 5\n",
    "list-same-indent.yaml": "uwsgi:\n  a:\n  - 1\n  - 2\n  c: 5\n",
    "quotes.yml": (
        "uwsgi:\n  a: \"x\\ty\"\n  b: 'it''s' # comment\n  c: two\n    lines\n  d: ~\n  e:\n  f: |-\n    text\n"
    ),
    "other.yaml": "other:\n  a: 1\nuwsgi:\n  b: 2\nmore:\n  c: 3\n",
    "flow.yaml": "uwsgi: {a: 1, b: 2}\n",
    "flow-inside.yaml": "uwsgi:\n  a: {b: 1, c: 2}\n  d: 3\n",
    "nested.yaml": "uwsgi:\n  a:\n    b: 1\n    c: 2\n  d: 3\n",
    "nested-list.yaml": "uwsgi:\n  a:\n    - b: 1\n    - c\n  d: 3\n",
    "list-list.yaml": "uwsgi:\n  a: [[1, 2], 3]\n  d: 3\n",
    "anchor.yaml": "uwsgi:\n  a: &x 1\n  b: *x\n  c: 2\n",
    "tag.yaml": "uwsgi:\n  a: !!str 1\n  c: 2\n",
    "broken-after.yaml": "uwsgi:\n  a: 1\nother: 2\n\tx: [\n",
    "unbalanced.yaml": "uwsgi:\n  a: [1\n  b: }\n",
    "top-list.yaml": "- uwsgi\n- a: 1\n",
    "empty.yaml": "",
    "document.yaml": "%%YAML 1.1\n---\nuwsgi:\n  a: %n\n...\n---\nuwsgi:\n  b: 1\n",
    "logic.yaml": "uwsgi:\n  if-env: WHO\n  a: '%(_)'\n  end-if: ''\n  b: x%(a)\n",
    "plain.json": '{"uwsgi": {"a": "x", "b": true, "c": false, "d": null, "e": 1.50, "f": -0e1, "g": ["1", 2, true]}}',
    "repeated.json": '{"uwsgi": {"a": "1", "a": "2"}, "uwsgi": {"b": 1}}',
    "comments.json": (
        '/* c */ {"x": [{}], // d\n "uwsgi": {"a": {"b": 1}, "c": [[1], {}, null], "d": "e\\u00e9\\ud83d\\ude00\\n"}}'
    ),
    "escapes.js": '{"uwsgi": {"a": "\\"\\\\\\/\\t", "b": "%n", "": "x"}}',
    "plain.xml": "<uwsgi>\n  <socket>127.0.0.1:3031</socket>\n  <master/>\n  <a> x </a>\n  <b></b>\n</uwsgi>\n",
    "entities.xml": "<?xml version='1.0'?>\n<uwsgi><a>1 &amp; 2 &#65;&lt;</a></uwsgi>\n",
    "inside.xml": "<all><x><uwsgi><a>0</a></uwsgi></x><uwsgi id='i'><a>1</a></uwsgi><uwsgi><a>2</a></uwsgi></all>",
    "children.xml": "<uwsgi><a>1<!-- c -->2</a><b><!-- c --></b><c><![CDATA[d]]>e</c><e>f<g/></e><!-- z --></uwsgi>",
    "app.xml": (
        "<uwsgi><app mountpoint='/a'>one.py</app><app domain='d'><!-- x --><s>two.py</s></app><app/>"
        "<app mountpoint='/b'>\n <script>three.py</script>\n</app><app>four</app></uwsgi>"
    ),
    "cdata-twice.xml": "<uwsgi><![CDATA[a]]><![CDATA[b]]> <![CDATA[c]]></uwsgi>",
    "other-empty.xml": "<other/>",
    "cdata.xml": "<uwsgi><![CDATA[x = 1]]><a>%n</a></uwsgi>",
}

REFUSED = {
    "nested.ini": "[uwsgi]\nif-env = WHO\nif-env = WHO\na = 1\nendif\n",
    "nested-for.ini": "[uwsgi]\nfor = a\nfor = b\nx = 1\nendfor\n",
    "set.ini": "[uwsgi]\nset = nothing\n",
    "declare.ini": "[uwsgi]\ndeclare-option = nothing\n",
    "blacklist.ini": "[uwsgi]\nblacklist = a b\nb = 1\n",
    "whitelist.ini": "[uwsgi]\nwhitelist = a\nb = 1\n",
    "no-file.ini": "[uwsgi]\na = @(nowhere)\n",
    "missing.ini": "[uwsgi]\ninclude = nowhere.ini\n",
    "broken.yaml": "uwsgi:\n  a: 'not closed\n",
    "tab.yaml": "uwsgi:\n\ta: 1\n",
    "broken.json": '{"uwsgi": {"a": 1,}}',
    "trailing.json": '{"uwsgi": {"a": 1}} x',
    "zero.json": '{"uwsgi": {"a": 01}}',
    "half.json": '{"uwsgi": {"a": "\\x"}}',
    "no-section.json": '{"other": {}}',
    "section-no-object.json": '{"uwsgi": []}',
    "broken.xml": "<uwsgi><a>1</uwsgi>",
    "other.xml": "<other><a/></other>",
    "empty.xml": "",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "folder").mkdir()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def binary(name: str) -> list[str] | None:
    """Return the options uWSGI takes from a file, one a line, without those around it; None where it refuses it."""
    result = subprocess.run(
        [UWSGI, "--show-config", "--clock", "none", OPTIONS[name.rpartition(".")[2]], name],
        env=ENVIRON,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=20,
        check=False,
    )
    text = os.fsdecode(result.stdout)
    _, started, rest = text.partition("\n;uWSGI instance configuration\n[uwsgi]\n")
    if not started:
        return None
    lines = rest.partition(";end of configuration\n")[0].split("\n")[:-1]
    return [line for line in lines[3:] if line.partition(" = ")[0] not in LOGIC]


def bridge(path: Path) -> list[str]:
    config = reader.read(path.name, reader.ProcessView(environ=ENVIRON, cwd=str(path.parent), program=UWSGI))
    text = "".join(f"{option.key} = {option.value}\n" for option in config.options)
    return text.split("\n")[:-1]


def compare(path: Path, text: str) -> None:
    path.write_text(text, errors="surrogateescape", newline="")
    expected = binary(path.name)
    assert expected is not None, "uWSGI refuses this file"
    assert bridge(path) == expected


def test_the_binary_is_there() -> None:
    assert os.access(UWSGI, os.X_OK), f"install uWSGI: {UWSGI} is what these tests compare with"


@pytest.mark.parametrize("name", INI)
def test_ini(folder: Path, name: str) -> None:
    compare(folder / f"{name}.ini", INI[name])


def test_declared_option(folder: Path) -> None:
    # What the template gives is applied without being listed, so only here there is one option more.
    path = folder / "declare.ini"
    path.write_text("[uwsgi]\ndeclare-option = hi=procname=$1;listen=$2\nn = 3\nhi = %(n) 9\nb = %(hi) %(procname)\n")
    ours = bridge(path)
    assert ours[3:5] == ["procname = %(n)", "listen = 9"]
    assert ours[:3] + ours[5:] == binary(path.name)


@pytest.mark.parametrize("name", OTHERS)
def test_other_formats(folder: Path, name: str) -> None:
    compare(folder / name, OTHERS[name])


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_both(folder: Path, name: str) -> None:
    (folder / name).write_text(REFUSED[name])
    assert binary(name) is None
    with pytest.raises(ConfigError):
        bridge(folder / name)


def test_as_if_it_had_reloaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRON, option_tables.RELOADS, "-1")
    compare(folder / "again.ini", INI["if-reload"])
    assert bridge(folder / "again.ini") == ["a = 1"]
