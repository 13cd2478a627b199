"""Work in a child process, while this one goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from functools import partial

import pytest

from bridge.host.second_process import SecondProcess


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def assert_has_ended(child: int) -> None:
    with pytest.raises(ChildProcessError):
        os.waitpid(child, os.WNOHANG)


def test_the_work_is_done_in_another_process_with_what_this_one_has() -> None:
    before = descriptors()
    facts = {"a": [1, 2]}
    process = SecondProcess(lambda: (os.getpid(), facts), is_worth_it=True)
    facts["a"].append(3)
    worker, found = process.result()
    assert worker != os.getpid()
    assert found == {"a": [1, 2]}
    assert_has_ended(worker)
    assert descriptors() == before


def test_little_work_is_done_once_it_is_asked_for() -> None:
    done: list[int] = []
    process = SecondProcess(lambda: done.append(1), is_worth_it=False)
    assert done == []
    process.result()
    assert done == [1]


def test_a_result_may_be_larger_than_a_pipe() -> None:
    assert len(SecondProcess(lambda: "x" * 3_000_000, is_worth_it=True).result()) == 3_000_000


def _fail_in_child(parent: int, how: str) -> int:
    if os.getpid() != parent:
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise MemoryError
    return parent


@pytest.mark.parametrize("how", ["killed", "raises"])
def test_what_a_child_cannot_do_is_done_here(how: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert SecondProcess(partial(_fail_in_child, os.getpid(), how), is_worth_it=True).result() == os.getpid()
    assert capfd.readouterr().err == ""


def test_an_error_is_raised_here() -> None:
    facts: dict[str, int] = {}
    process = SecondProcess(lambda: facts["none"], is_worth_it=True)
    with pytest.raises(KeyError):
        process.result()


@pytest.mark.parametrize("work", [lambda: "x" * 3_000_000, lambda: time.sleep(60)], ids=["full pipe", "sleep"])
def test_who_does_not_ask_leaves_no_child(work: partial[object]) -> None:
    before = descriptors()
    process = SecondProcess(work, is_worth_it=True)
    child = process._child
    assert os.waitpid(child, os.WNOHANG) == (0, 0)
    with pytest.raises(OSError, match="before"), closing(process):
        raise OSError("before it was asked")
    assert_has_ended(child)
    assert descriptors() == before


@pytest.mark.parametrize("call", ["fork", "pipe2"])
def test_without_another_process_the_work_is_done_here(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def refuse(*_: object) -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, call, refuse)
    before = descriptors()
    with closing(SecondProcess(os.getpid, is_worth_it=True)) as process:
        assert process.result() == os.getpid()
    assert descriptors() == before


def test_where_the_kernel_forgets_children_the_result_counts_all_the_same() -> None:
    code = """
import os
from bridge.host.as_user import Identity, Place, look
from bridge.host.second_process import SecondProcess
assert SecondProcess(os.getpid, is_worth_it=True).result() != os.getpid()
assert look([[Place("/", is_folder=True)]], Identity(os.getuid(), os.getgid()), timeout=10) == [0]
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        preexec_fn=partial(signal.signal, signal.SIGCHLD, signal.SIG_IGN),
    )
    assert (run.returncode, run.stderr) == (0, b"")
