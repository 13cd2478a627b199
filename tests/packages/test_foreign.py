"""The packages of Fedora and Arch, as far as Debian's rpm and makepkg can tell: never installed on either."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from bridge import __version__

from .build import build_foreign, sources
from .tree import SHARED, Opened, opened

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.long

PLACE = f"{SHARED}/checkout"
ZSH = "ZSHDIR=/usr/share/zsh/site-functions"
TOML = "/etc/emperor-bridge/bridge.toml"
UNITS = ("emperor-bridge.service", "emperor-bridge-sync.path", "emperor-bridge-sync.service")
OF_ITSELF = re.compile(r"/usr/share/(doc|licenses|packages)/|\.pyc$|^/\.|/$")
"""What a package has beside that which is installed: documents, byte code, what it says of itself, folders."""


@pytest.fixture(scope="module")
def tree() -> Iterator[Opened]:
    with opened() as made:
        sources(made.shared / "checkout")
        yield made


def installed(tree: Opened, *variables: str) -> set[str]:
    """Return the files that `make install` installs."""
    script = f'rm -rf /tmp/i; make -s -C {PLACE} install DESTDIR=/tmp/i "$@"; cd /tmp/i; find . -type f'
    return {line.removeprefix(".") for line in tree.run("sh", "-ec", script, "sh", *variables).stdout.splitlines()}


def payload(listed: str) -> set[str]:
    """Return the files of a package that are those of `make install`."""
    lines = (f"/{line.lstrip('/')}" for line in listed.splitlines())
    return {re.sub(r"(/man/.*)\.gz$", r"\1", line) for line in lines if not OF_ITSELF.search(line)}


def test_rpm(tree: Opened) -> None:
    said = build_foreign(tree, "rpm")
    assert re.search(r"\b0 errors, 0 warnings", said), said
    package = f"{SHARED}/rpm/RPMS/noarch/emperor-bridge-{__version__}-1.noarch.rpm"
    listed = tree.run("sh", "-c", f"rpm -qpl --dump {package} | sed -n '/ 0100/s/ .*//p'").stdout
    assert payload(listed) == installed(tree, ZSH)
    # Debian 12's rpm installs nothing without this option, and Debian 13's does not have it.
    forced = tree.run("sh", "-c", "rpm --help | grep -o -e --force-debian; true").stdout.strip()
    rpm = f"rpm {forced} --nodeps"
    state = f"systemctl is-enabled {' '.join(UNITS)}; true"
    tree.run("sh", "-ec", f"{rpm} -i {package}; rpm -V --nodeps emperor-bridge; echo '# mine' >>{TOML}")
    assert tree.run("sh", "-c", state).stdout.split() == ["disabled"] * 3
    tree.run("systemctl", "enable", UNITS[0])
    tree.run("sh", "-ec", f"{rpm} -U --force {package}; grep -q mine {TOML}")
    assert tree.run("sh", "-c", state).stdout.split() == ["enabled", "disabled", "disabled"]
    tree.run("sh", "-ec", f"{rpm} -e emperor-bridge; grep -q mine {TOML}.rpmsave; rm {TOML}.rpmsave")
    # The folder had the changed file in it.
    left = tree.run("find", "/etc", "/usr", "-type", "f", "-name", "*emperor-bridge*").stdout
    assert left == ""


def test_arch(tree: Opened) -> None:
    build_foreign(tree, "arch")
    folder = f"{SHARED}/arch"
    package = f"{folder}/emperor-bridge-{__version__}-1-any.pkg.tar.*"
    assert payload(tree.run("sh", "-c", f"bsdtar -tf {package}").stdout) == installed(tree, ZSH)
    script = f"cd {folder}; exec setpriv --reuid=nobody --clear-groups makepkg --printsrcinfo"
    info = tree.run("sh", "-c", script).stdout
    assert f"pkgver = {__version__}\n" in info
    assert "depends = python-cysystemd>=1.5.4\n" in info
    assert "backup = etc/emperor-bridge/bridge.toml\n" in info
    # The package's scripts, over its files.
    tree.run("sh", "-ec", f"bsdtar -C / -xf {package}; . /.INSTALL; post_install; post_upgrade")
    tree.run("systemctl", "enable", UNITS[0])
    tree.run("sh", "-ec", ". /.INSTALL; pre_remove")
    state = tree.run("sh", "-c", f"systemctl is-enabled {' '.join(UNITS)}; true").stdout
    assert state.split() == ["disabled"] * 3
