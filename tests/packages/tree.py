"""The tree of a Debian suite that packages are built, checked and tried in.

It has neither emperor-bridge nor what only emperor-bridge depends on. What the packages depend on lies in apt's cache,
so that a machine without a network installs it as an admin does.
"""

from __future__ import annotations

import fcntl
import re
import shlex
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.booted.process import CommandError, execute
from tests.booted.suite import CHECKOUT, Tree, lock, packages, requirements

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.booted.process import Result

RECIPES = CHECKOUT / "packaging/debian"
LISTS = ("package-tools.txt", "tree-packages.txt")
OWN = frozenset({"python3-cysystemd", "python3-inotify-simple"})
"""What emperor-bridge depends on and Debian lacks."""
HARNESS = "jeepney"
"""What the tests' own tools in the machine need from PyPI."""
SHARED = "/srv/shared"
BASE = "/srv/base"
"""Where commands find the tree as it was made."""
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

# In a mount namespace of its own: an overlay of the tree, which stays as it was.
ENTER = """
directory=$1 tree=$2
shift 2
root=$directory/root
mount -t overlay overlay "$root" -o "lowerdir=$tree,upperdir=$directory/upper,workdir=$directory/work"
mkdir -p "$root$SHARED"
mount --bind "$directory/shared" "$root$SHARED"
mkdir -p "$root$BASE"
mount --bind "$tree" "$root$BASE"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
cp /etc/resolv.conf "$root/etc/resolv.conf"
cd /
exec chroot "$root" env --ignore-environment "PATH=$PATH" LANG=C.UTF-8 HOME=/root "$@"
"""


def dependencies() -> list[str]:
    """Return the packages of Debian's that emperor-bridge depends on, as its recipe says."""
    field = re.split(r"\nDepends:", (RECIPES / "emperor-bridge/control").read_text())[1]
    alternatives = re.split(r"\n(?=\S)", field)[0].split(",")
    first = {found[1] for one in alternatives if (found := re.match(r"\s*([a-z0-9.+-]+)", one))}
    return sorted(first - OWN)


def tree() -> Path:
    """Return the tree's directory, which is made if it is not there as it should be."""
    download = "apt-get install --download-only --yes -qq --no-install-recommends"
    hook = f'chroot "$1" {download} {shlex.join(dependencies())} >/dev/null'
    wanted = [one for one in requirements() if one.startswith(HARNESS)]
    return Tree(
        kind="packages-",
        packages=tuple(packages(LISTS)),
        requirements=tuple(wanted),
        options=("--skip=cleanup/apt", f"--customize-hook={hook}"),
    ).path()


@dataclass(frozen=True)
class Opened:
    """An overlay of the tree, in which commands run one after another; nothing is booted."""

    directory: Path
    tree: Path

    @property
    def shared(self) -> Path:
        """The folder on this machine that commands find at SHARED."""
        return self.directory / "shared"

    def run(self, *argv: str, network: bool = False, check: bool = True, timeout: float = 900) -> Result:
        """Run a command to its end, as root, without a network unless it says so."""
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", *([] if network else ["--net"])]
        enter = ["env", f"PATH={PATH}", f"SHARED={SHARED}", f"BASE={BASE}", *unshare, "sh", "-euc", ENTER, "sh"]
        result = execute([*enter, str(self.directory), str(self.tree), *argv], timeout=timeout)
        if check and result.returncode:
            raise CommandError(argv, result)
        return result


@contextmanager
def opened() -> Iterator[Opened]:
    """Open an overlay of the tree, and remove it afterwards."""
    made = tree()
    with lock(made, fcntl.LOCK_SH), tempfile.TemporaryDirectory(dir="/var/tmp", prefix="emperor-bridge-tree-") as name:
        for part in ("upper", "work", "root", "shared"):
            (Path(name) / part).mkdir()
            (Path(name) / part).chmod(0o755)
        yield Opened(Path(name), made)
