"""What differs between builds of uWSGI."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.uwsgi.build import joins_cdata
from bridge.uwsgi.reader import ProcessView, read

if TYPE_CHECKING:
    from pathlib import Path

TWICE = "<uwsgi><![CDATA[a]]><![CDATA[b]]><x><![CDATA[1]]><![CDATA[2]]></x></uwsgi>"
JOINED = [("eval", "ab"), ("x", "12")]
APART = [("eval", "a"), ("eval", "b"), ("x", "1")]


def program(folder: Path, library: str) -> str:
    path = folder / "uwsgi"
    path.write_bytes(b"\x7fELF" + b"\0libpcre2-8.so.0\0" + library.encode() + b"\0libc.so.6\0")
    return str(path)


@pytest.mark.parametrize(
    ("library", "options"),
    [("libxml2.so.2", JOINED), ("libxml2.so.16", APART), ("libxml2.so.17", APART), ("libexpat.so.1", JOINED)],
)
def test_successive_cdata_sections(tmp_path: Path, library: str, options: list[tuple[str, str]]) -> None:
    config = tmp_path / "app.xml"
    config.write_text(TWICE)
    view = ProcessView(environ={}, program=program(tmp_path, library))
    assert [(option.key, option.value) for option in read(str(config), view).options] == options


@pytest.mark.parametrize("name", ["nowhere", "", "a\0b"])
def test_a_program_that_is_not_there(tmp_path: Path, name: str) -> None:
    assert joins_cdata(str(tmp_path / name))


def test_an_upgrade_is_noticed(tmp_path: Path) -> None:
    assert joins_cdata(program(tmp_path, "libxml2.so.2"))
    (tmp_path / "uwsgi").unlink()
    assert not joins_cdata(program(tmp_path, "libxml2.so.16"))
