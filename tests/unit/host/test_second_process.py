"""Work in a child process, while this one goes on."""

from __future__ import annotations

import os
import signal
from functools import partial

import pytest

from bridge.host.second_process import begin


def test_the_work_is_done_in_another_process_with_what_this_one_has() -> None:
    facts = {"a": [1, 2]}
    result = begin(lambda: (os.getpid(), facts))
    facts["a"].append(3)
    worker, found = result()
    assert worker != os.getpid()
    assert found == {"a": [1, 2]}
    with pytest.raises(ChildProcessError):
        os.waitpid(worker, 0)


def test_a_result_may_be_larger_than_a_pipe() -> None:
    assert len(begin(lambda: "x" * 3_000_000)()) == 3_000_000


def _fail_in_child(parent: int, how: str) -> int:
    if os.getpid() != parent:
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise MemoryError
    return parent


@pytest.mark.parametrize("how", ["killed", "raises"])
def test_what_a_child_cannot_do_is_done_here(how: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert begin(partial(_fail_in_child, os.getpid(), how))() == os.getpid()
    assert capfd.readouterr().err == ""


def test_an_error_is_raised_here() -> None:
    facts: dict[str, int] = {}
    result = begin(lambda: facts["none"])
    with pytest.raises(KeyError):
        result()


def test_without_another_process_the_work_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", fork)
    before = set(os.listdir("/proc/self/fd"))
    assert begin(os.getpid)() == os.getpid()
    assert set(os.listdir("/proc/self/fd")) == before
