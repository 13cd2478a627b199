"""Mallory has root read what must not be read: the kernel's own files, devices, pipes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .attack import BAIT, MALLORY, config
from .suite import PYTHON

if TYPE_CHECKING:
    from .attack import Attack

KERNELS = (
    *("/proc/kmsg", "/dev/kmsg", "/proc/self/mem", "/proc/self/environ", "/proc/1/environ", "/proc/self/fd/0"),
    *("/proc/self/fd/3", "/proc/self/task/../maps", "/proc/sys/kernel/hostname", "/sys/kernel/uevent_seqnum"),
    *("/dev/zero", "/dev/ptmx", "/dev/tty", "/dev/fuse", "/proc/self/pagemap", "/sys/kernel/debug/tracing/trace_pipe"),
    *("/proc/sysrq-trigger", "/proc/kcore", "/proc/thread-self/attr/current", "/proc/net/tcp"),
)
WAYS = {
    "ini": "ini = {}",
    "include": "include = {}",
    "inherit": "inherit = {}",
    "section": "ini = {}:uwsgi",
    "text": "env = TEXT=@({})",
    "condition": "if-file = {}\nenv = A=b\nendif =",
    "xml": "xml = {}",
    "json": "json = {}",
    "yaml": "yaml = {}",
}

# A pipe that is his own: what root reads from it is gone.
FILL = """
import os, sys
pipe = sys.argv[1]
os.mkfifo(pipe)
end = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
print(os.write(end, b"[uwsgi]\\nenv = A=b\\n" * 10), flush=True)
sys.stdin.readline()
print(len(os.read(end, 65536)), flush=True)
"""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("attack", ["shared"], indirect=True)
def test_a_config_that_includes_the_kernels_files(attack: Attack, way: str) -> None:
    with attack.held():
        for number, path in enumerate(KERNELS):
            attack.serve(MALLORY, f"k{number}.ini", WAYS[way].format(path), address=f"@k{number}")
        attack.change()
        attack.bridge.run("check", status=None)


def test_configs_and_rules_that_are_links_to_the_kernels_files(attack: Attack) -> None:
    with attack.held():
        for number, path in enumerate((*KERNELS, BAIT, f"{BAIT}.d", f"{BAIT}.d/bait")):
            name = attack.path(MALLORY, f"l{number}.ini")
            attack.machine.run("ln", "-s", path, name, user=MALLORY)
            attack.put(MALLORY, f"{name}.socket", f"@l{number}\n")
            rule = attack.path(MALLORY, f"r{number}.ini")
            attack.machine.run("ln", "-s", path, f"{rule}.socket", user=MALLORY)
            attack.put(MALLORY, rule, config())
        attack.change()
        told = attack.bridge.run("check", status=None)
        assert "secret" not in told.stdout + told.stderr


def test_nothing_is_read_from_a_pipe_of_his(attack: Attack) -> None:
    with attack.held():
        pipes = {name: f"/home/mallory/{name}" for name in ("included", "text", "rule", "config.ini")}
        readers = []
        for pipe in pipes.values():
            process = attack.machine.popen(PYTHON, "-c", FILL, pipe, user=MALLORY)
            assert process.stdout is not None
            assert process.stdout.readline() == b"180\n"
            readers.append(process)
        attack.serve(MALLORY, "a.ini", f"ini = {pipes['included']}", address="@a")
        attack.serve(MALLORY, "b.ini", f"env = A=@({pipes['text']})", address="@b")
        path = attack.path(MALLORY, "c.ini")
        attack.machine.run("ln", "-s", pipes["rule"], f"{path}.socket", user=MALLORY)
        attack.put(MALLORY, path, config())
        attack.machine.run("ln", "-s", pipes["config.ini"], attack.path(MALLORY, "d.ini"), user=MALLORY)
        attack.change()
        left = [process.communicate(b"\n")[0] for process in readers]
        assert left == [b"180\n"] * len(readers)


@pytest.mark.parametrize("attack", ["shared"], indirect=True)
def test_a_process_of_his_behind_an_included_path(attack: Attack) -> None:
    """A process can change what these paths lead to, at any time."""
    script = "import os, sys; os.chdir('/home/mallory'); print(os.getpid(), flush=True); sys.stdin.readline()"
    with attack.held():
        process = attack.machine.popen(PYTHON, "-c", script, user=MALLORY)
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        attack.put(MALLORY, "/home/mallory/part.ini", "[uwsgi]\nenv = A=b\n")
        for number, name in enumerate(("cwd/part.ini", "root/home/mallory/part.ini", "cwd", "fd/0", "ns/mnt", "exe")):
            attack.serve(MALLORY, f"p{number}.ini", f"ini = /proc/{pid}/{name}", address=f"@p{number}")
            attack.serve(MALLORY, f"q{number}.ini", f"if-exists = /proc/{pid}/{name}", address=f"@q{number}")
        attack.change()
        process.communicate(b"\n")
