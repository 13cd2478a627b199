"""The tree that the machine boots: this machine's own, or one of another Debian suite, which is made here.

SUITE=trixie (or any other suite that Debian's mirrors have) chooses the suite. `python -m tests.booted.suite` makes its
tree. A tree is made once, and anew when the lists of what is in it change.
"""

from __future__ import annotations

import compileall
import fcntl
import hashlib
import os
import shlex
import shutil
import sys
import tomllib
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .process import MachineError, execute

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CHECKOUT = Path(__file__).resolve().parents[2]
SUITE = os.environ.get("SUITE", "")
TREES = Path(os.environ.get("EMPEROR_BRIDGE_TREES_DIR") or "/var/cache/emperor-bridge-tests")
MIRROR = os.environ.get("EMPEROR_BRIDGE_MIRROR") or "http://deb.debian.org/debian"
LISTS = ("test-packages.txt", "server-packages.txt", "bench-packages.txt", "tree-packages.txt")
TESTS = ("hypothesis", "nx-27017", "pytest")
DRIVERS = ("pg", "mongodb", "zmq", "amqp")
"""The extras of what talks to the monitors' servers."""
VENV = "/opt/venv"
"""Where a tree has the Python packages that the bridge needs, installed by the tree's own Python."""
PYTHON = f"{VENV}/bin/python" if SUITE else sys.executable
"""The interpreter in the machine that has what the bridge needs, and the bridge itself."""
COMMAND = str(Path(PYTHON).with_name("emperor-bridge"))

# What this machine trusts may be more than what Debian trusts: pip in the tree needs that too.
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
MAKE_VENV = f"""
root=$1
shift
if [ -e {CERTIFICATES} ]; then cp {CERTIFICATES} "$root{CERTIFICATES}"; fi
chroot "$root" python3 -m venv {VENV}
chroot "$root" {VENV}/bin/pip install --quiet --disable-pip-version-check --cert {CERTIFICATES} "$@"
"""
COMPILE = """
mkdir -p "$1$2"
mount --bind "$2" "$1$2"
exec chroot "$1" "$3" -m compileall -q "$2/bridge" "$2/tests"
"""
TIMEOUT = 1800.0
SCRIPT = f"""#!{PYTHON}
import sys
from bridge.cli import main
sys.exit(main())
"""


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A tree of a Debian suite, by what is in it."""

    packages: tuple[str, ...]
    requirements: tuple[str, ...]
    """What comes from PyPI."""
    options: tuple[str, ...] = ()
    """Of mmdebstrap."""
    kind: str = ""
    """What its name begins with; trees of other kinds are left alone."""

    def path(self) -> Path:
        """Return its directory, which is made if it is not there as it should be."""
        words = [*self.packages, *self.requirements, MAKE_VENV, *self.options]
        contents = hashlib.sha256("\0".join(words).encode()).hexdigest()[:8]
        directory = TREES / f"{self.kind}{SUITE}-{contents}"
        if not directory.exists():
            with lock(directory):
                if not directory.exists():
                    _make(self, directory)
        return directory


def tree() -> Path:
    """Return the directory of the tree to boot, which is made if it is not there as it should be."""
    return Tree(packages=tuple(packages()), requirements=tuple(requirements())).path() if SUITE else Path("/")


def files(lower: Path) -> dict[str, tuple[str, int]]:
    """Return what a machine has beside a tree, by path, with its mode: the bridge of this checkout."""
    (found,) = (lower / VENV.lstrip("/")).glob("lib/python3*/site-packages")
    return {f"/{found.relative_to(lower)}/checkout.pth": (f"{CHECKOUT}\n", 0o644), COMMAND: (SCRIPT, 0o755)}


def compile_code(checkout: Path = CHECKOUT) -> None:
    """Compile the bridge and its tests for the machine's Python, as an installation does.

    The machine cannot write into the checkout, and would compile all modules again for each command.
    """
    if not SUITE:
        for name in ("bridge", "tests"):
            compileall.compile_dir(checkout / name, quiet=1)
        return
    # What it mounts goes with it.
    argv = ["unshare", "--mount", "sh", "-euc", COMPILE, "sh", str(tree()), str(checkout), PYTHON]
    result = execute(argv, timeout=TIMEOUT)
    if result.returncode:
        raise MachineError(f"{PYTHON} cannot compile {checkout}:\n{result.stdout}{result.stderr}")


def packages(lists: Sequence[str] = LISTS) -> list[str]:
    """Return the Debian packages of a tree."""
    lines = [line.strip() for name in lists for line in (CHECKOUT / "packaging" / name).read_text().splitlines()]
    return sorted({line for line in lines if line and not line.startswith("#")})


def requirements() -> list[str]:
    """Return the Python packages that a tree has: what the bridge needs, and what its tests need."""
    with (CHECKOUT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    extras = project["optional-dependencies"]
    drivers = [one for extra in DRIVERS for one in extras[extra]]
    return [*project["dependencies"], *drivers, *(one for one in extras["test"] if one.startswith(TESTS))]


@contextmanager
def lock(directory: Path, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Hold a tree's lock: shared to boot it, exclusive to make or remove it."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, how)
        yield


def _make(tree: Tree, directory: Path) -> None:
    """Make a tree, and remove those that the suite had with other contents, unless they are in use."""
    if shutil.which("mmdebstrap") is None:
        raise MachineError(f"a tree of {SUITE} needs mmdebstrap: see packaging/suite-packages.txt")
    print(f"making {directory}, a tree of Debian {SUITE}: a minute or two", file=sys.stderr, flush=True)  # noqa: T201
    for old in TREES.glob(f"{tree.kind}{SUITE}-*/"):
        with suppress(BlockingIOError), lock(old.with_suffix(""), fcntl.LOCK_EX | fcntl.LOCK_NB):
            _remove(old)
    fresh, hook = directory.with_suffix(".new"), directory.with_suffix(".hook")
    _remove(fresh)
    words = shlex.join(tree.requirements)
    hook.write_text(f'#!/bin/sh\nset -eu\nset -- "$1" {words}\n{MAKE_VENV}')
    hook.chmod(0o755)
    # What it mounts goes with it, even if it is killed.
    argv = ["unshare", "--mount", "mmdebstrap", "--mode=root", "--variant=minbase"]
    argv += [f"--include={','.join(tree.packages)}"]
    # A mirror that is behind is good enough for tests.
    argv += ["--aptopt=Acquire::Check-Valid-Until false"]
    argv += tree.options
    argv += [f'--customize-hook={shlex.quote(str(hook))} "$1"', SUITE, str(fresh), MIRROR]
    result = execute(argv, timeout=TIMEOUT)
    hook.unlink()
    if result.returncode:
        _remove(fresh)
        raise MachineError(f"mmdebstrap cannot make a tree of {SUITE}:\n{result.stdout}{result.stderr}")
    fresh.rename(directory)


def _remove(directory: Path) -> None:
    """Remove a tree, unless something is mounted below it."""
    if f" {directory}/" in Path("/proc/self/mountinfo").read_text():
        raise MachineError(f"something is mounted below {directory}: unmount it")
    if directory.exists():
        shutil.rmtree(directory)


if __name__ == "__main__":
    try:
        print(tree())  # noqa: T201
    except MachineError as error:
        sys.exit(str(error))
