from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.uwsgi.options import ConfigError
from bridge.uwsgi.reader import ProcessView, read
from tests.unit.uwsgi.test_beside_binary import binary

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.uwsgi.options import Remark

BOM = "\ufeff"
EMPTY = {
    "bom.ini": (f"{BOM}[uwsgi]\nprocname = x\n", 1, "byte order mark", "without a byte order mark"),
    "upper.ini": ("# c\n[uWSGI]\nprocname = x\n", 2, "ignores [uWSGI]", "write [uwsgi]"),
    "shout.ini": ("[UWSGI]\nprocname = x\n[other]\na = 1\n", 1, "ignores [UWSGI]", "write [uwsgi]"),
    "none.ini": ("\nprocname = x\nmaster = true\n", 2, "no section [uwsgi]", "write [uwsgi] above"),
    "other.ini": ("[app]\nprocname = x\n", 2, "no section [uwsgi]", "write [uwsgi] above"),
    "comment.ini": ("[uwsgi] ; main\nprocname = x\n", 1, "'uwsgi] ; mai'", "nothing else on this line"),
    "blank.ini": ("[ uwsgi ]\nprocname = x\n", 1, "' uwsgi '", "nothing else on this line"),
    "bom-key.ini": (f"{BOM}procname = x\n", 1, "no section [uwsgi]", "write [uwsgi] above"),
    "upper.yaml": ("---\nuWSGI:\n  procname: x\n", 2, "ignores uWSGI", "write uwsgi:"),
    "none.yaml": ("# c\nprocname: x\n", 2, "no mapping named uwsgi", "write uwsgi: above"),
    "flow.yml": ("uwsgi: {procname: x}\n", 1, "on the line of uwsgi:", "on a line of its own"),
    "scalar.yaml": ("uwsgi: procname\n", 1, "on the line of uwsgi:", "on a line of its own"),
    "list.yaml": ("- procname: x\n", 1, "no mapping named uwsgi", "write uwsgi: above"),
    "text.xml": ("<uwsgi>\nprocname = x\n</uwsgi>", 2, "text but no elements", "<name>value</name>"),
}
"""What uWSGI reads nothing of, the line at fault, and words of the message and of the hint."""
FINE = {
    "a.ini": "[uwsgi]\nprocname = x\n",
    "nothing.ini": "",
    "comments.ini": "# a\n[uwsgi]\n; b\n[other]\n",
    "header.ini": "[uWSGI]\n",
    "both.ini": "[uWSGI]\na = 1\n[uwsgi]\nprocname = x\n",
    "nothing.yaml": "# c\n---\n",
    "empty.yaml": "uwsgi:\n",
    "bom.yaml": f"{BOM}uwsgi:\n  procname: x\n",
    "bom.xml": f"{BOM}<uwsgi><procname>x</procname></uwsgi>",
    "empty.xml": "<uwsgi/>",
    "other.xml": "<uwsgi id='a'><!-- c --></uwsgi>",
    "empty.json": '{"uwsgi": {}}',
}


def remarks(path: Path) -> tuple[Remark, ...]:
    return read(str(path), ProcessView(environ={})).remarks


@pytest.mark.parametrize("name", EMPTY)
def test_why_neither_reads_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    text, line, message, hint = EMPTY[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(text)
    assert binary(name) == []
    (found,) = remarks(tmp_path / name)
    assert (found.path, found.line) == (str(tmp_path / name), line)
    assert message in found.message
    assert hint in found.hint


@pytest.mark.parametrize("name", FINE)
def test_nothing_is_said_of_the_others(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(FINE[name])
    assert remarks(tmp_path / name) == ()


def test_an_included_file_has_its_own_remark(tmp_path: Path) -> None:
    (tmp_path / "more.ini").write_text("[uWSGI]\na = 1\n")
    (tmp_path / "v.ini").write_text("[uwsgi]\nfor = 1 2\ninclude = more.ini\nendfor\nini = more.ini:prod\n")
    found = remarks(tmp_path / "v.ini")
    assert [(r.path, r.line) for r in found] == [("more.ini", 1), ("more.ini", 2)]
    assert "[prod]" in found[1].message


def test_a_byte_order_mark_that_both_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v.json").write_text(f'{BOM}{{"uwsgi": {{}}}}')
    assert binary("v.json") is None
    with pytest.raises(ConfigError) as caught:
        remarks(tmp_path / "v.json")
    assert "byte order mark" in caught.value.hint


def test_the_search_for_a_reason_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "v.ini").write_text("\n" * 5000 + "a = 1\n")
    assert remarks(tmp_path / "v.ini") == ()
