"""What Debian's own tools say of the packages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.booted.suite import SUITE

from .build import build, hashes
from .tree import BASE, RECIPES, SHARED

if TYPE_CHECKING:
    from pathlib import Path

    from .tree import Opened

DEBCONF = "^/var/cache/debconf/tmp.ci"
"""apt-extracttemplates makes this folder, whatever is installed."""


def test_a_second_build_is_the_same(looked_at: Opened, built: Path) -> None:
    again = build(looked_at, name="elsewhere/again", umask="077", zone="Asia/Tokyo")
    assert len(hashes(again)) >= 3
    assert hashes(again) == hashes(built)


def test_lintian_has_no_error_and_no_warning(looked_at: Opened) -> None:
    # Without --fail-on: that counts what a screen of lintian's own masks, too.
    script = f"lintian --allow-root --pedantic {SHARED}/built/*.changes"
    result = looked_at.run("sh", "-c", script, check=False)
    assert (result.returncode, result.stdout) == (0, "")


def test_every_override_has_a_reason() -> None:
    for path in RECIPES.rglob("lintian-overrides"):
        lines = path.read_text().splitlines()
        assert lines[0].startswith("# ")
        assert all(re.match(r"# |[a-z0-9-]+( source)?: [a-z0-9.-]+", line) for line in lines)


@pytest.mark.long
def test_piuparts_installs_and_purges_them(looked_at: Opened) -> None:
    command = f"piuparts --existing-chroot={BASE} --distribution={SUITE} --ignore-regex={DEBCONF}"
    script = f"exec {command} $(ls {SHARED}/built/*.deb | grep -v dbgsym)"
    result = looked_at.run("sh", "-c", script, network=True, check=False)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr
    assert "PASS: All tests." in result.stdout
