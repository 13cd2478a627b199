"""`make deb`, `make rpm`, `make arch`: builds packages in a tree of a Debian suite.

SUITE=trixie python -m tests.packages.build [rpm|arch]
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from typing import TYPE_CHECKING

from tests.booted.process import CommandError, MachineError, execute
from tests.booted.suite import CHECKOUT, SUITE

from .tree import RECIPES, SHARED, Opened, opened

if TYPE_CHECKING:
    from pathlib import Path

DEB = CHECKOUT / ".deb"
BUILD = "packaging/debian/build"
FOREIGN = {"rpm": "RPMS/*/*.rpm", "arch": "*.pkg.tar.*"}
"""Where the recipes of other distributions leave their packages."""


def sources(where: Path) -> None:
    """Copy the files of the checkout, and no other."""
    listed = _output("git", "-C", str(CHECKOUT), "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in sorted(listed.split("\0")[:-1]):
        if (CHECKOUT / name).exists():
            (where / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, where / name)


def last_change() -> str:
    """Return when the checkout was last committed to, in seconds since 1970."""
    return (
        os.environ.get("SOURCE_DATE_EPOCH") or _output("git", "-C", str(CHECKOUT), "log", "-1", "--format=%ct").strip()
    )


def sdists() -> Path:
    """Return the folder of the upstream archives, which pip gets and compares with their hashes once."""
    wanted = RECIPES / "sdists.txt"
    folder = DEB / f"sdists-{hashlib.sha256(wanted.read_bytes()).hexdigest()[:8]}"
    if not folder.exists():
        fresh = folder.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:", "--require-hashes"]
        _output(*pip, f"--requirement={wanted}", f"--dest={fresh}")
        fresh.rename(folder)
    return folder


def build(tree: Opened, *, name: str = "build", umask: str = "022", zone: str = "UTC") -> Path:
    """Build all packages in a tree, and return the folder where they are; the arguments must make no difference."""
    checkout, out = tree.shared / name / "checkout", tree.shared / name / "out"
    sources(checkout)
    archives = sdists()
    shutil.copytree(archives, tree.shared / name / "sdists")
    place = f"{SHARED}/{name}"
    script = f'umask {umask}; export TZ={zone}; exec sh "$@"'
    argv = (f"{place}/checkout/{BUILD}", f"{place}/checkout", f"{place}/sdists", last_change(), f"{place}/out")
    tree.run("sh", "-c", script, "sh", *argv)
    return out


def build_foreign(tree: Opened, kind: str) -> str:
    """Build the rpm or Arch's package in a tree, in the shared folder of its name; return what was said of it."""
    place = f"{SHARED}/{kind}-checkout"
    sources(tree.shared / f"{kind}-checkout")
    script = f"export SOURCE_DATE_EPOCH={last_change()}; exec sh {place}/packaging/{kind}/build {place} {SHARED}/{kind}"
    return tree.run("sh", "-c", script).stdout


def hashes(folder: Path) -> dict[str, str]:
    """Return the hash of each package in a folder."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.deb"))}


def _output(*argv: str) -> str:
    result = execute(argv, timeout=300)
    if result.returncode:
        raise CommandError(argv, result)
    return result.stdout


def main() -> None:
    """Build the packages of a suite into .deb/SUITE; or the package of another distribution into .rpm or .arch."""
    if kinds := sys.argv[1:]:
        (kind,) = kinds
        place = CHECKOUT / f".{kind}"
        with opened() as tree:
            sys.stdout.write(build_foreign(tree, kind))
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            for found in (tree.shared / kind).glob(FOREIGN[kind]):
                shutil.copy(found, place)
        return
    place = DEB / SUITE
    with opened() as tree:
        built = build(tree)
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(built, place)
    for name, digest in hashes(place).items():
        print(f"{digest}  {(place / name).relative_to(CHECKOUT)}")  # noqa: T201


if __name__ == "__main__":
    try:
        main()
    except MachineError as error:
        sys.exit(str(error))
