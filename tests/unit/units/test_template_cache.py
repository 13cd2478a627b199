from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from bridge.units.render import make_templates
from bridge.units.template_cache import TemplateCache

if TYPE_CHECKING:
    from pathlib import Path

    from jinja2.bccache import Bucket


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The templates that Jinja has compiled."""
    names: list[str] = []
    note = TemplateCache.dump_bytecode

    def dump(cache: TemplateCache, bucket: Bucket) -> None:
        names.append(bucket.key)
        note(cache, bucket)

    monkeypatch.setattr(TemplateCache, "dump_bytecode", dump)
    return names


def filled(folder: Path, *, saves: bool = True) -> str:
    cache = TemplateCache(f"{folder}/run/templates")
    text = make_templates([str(folder)], cache).get_template("a.j2").render(word="w")
    if saves:
        cache.save()
    return text


def test_a_template_is_compiled_once(tmp_path: Path, compiled: list[str]) -> None:
    (tmp_path / "a.j2").write_text("one {{ word }}")
    assert filled(tmp_path, saves=False) == "one w"
    assert not (tmp_path / "run").exists()
    assert [filled(tmp_path) for _ in range(3)] == ["one w"] * 3
    assert len(compiled) == 2
    assert stat.S_IMODE((tmp_path / "run" / "templates").stat().st_mode) == 0o600


def test_a_changed_template_is_compiled_again(tmp_path: Path, compiled: list[str]) -> None:
    (tmp_path / "a.j2").write_text("one {{ word }}")
    filled(tmp_path)
    (tmp_path / "a.j2").write_text("two {{ word }}")
    assert [filled(tmp_path) for _ in range(2)] == ["two w"] * 2
    assert len(compiled) == 2


@pytest.mark.parametrize("content", [b"", b"nonsense", b"i\x01\0\0\0", b"["])
def test_a_damaged_cache_is_written_anew(tmp_path: Path, compiled: list[str], content: bytes) -> None:
    (tmp_path / "a.j2").write_text("one {{ word }}")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "templates").write_bytes(content)
    assert [filled(tmp_path) for _ in range(2)] == ["one w"] * 2
    assert len(compiled) == 1
