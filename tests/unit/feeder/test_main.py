"""The feeder's process as the root side starts it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bridge.feeder.protocol import Message, Orders, Trouble, decode, encode

if TYPE_CHECKING:
    from pathlib import Path

WAIT = 30


def start(end: socket.socket, folder: Path | None = None) -> subprocess.Popen[str]:
    environment = os.environ | ({"PYTHONPATH": str(folder)} if folder else {})
    return subprocess.Popen(
        [sys.executable, "-m", "bridge.feeder"], stdin=end.fileno(), stderr=subprocess.PIPE, text=True, env=environment
    )


def talk(orders: bytes, folder: Path | None = None) -> tuple[int, list[Message], str]:
    """Return the exit status, the messages and the standard error of a feeder that gets these orders."""
    here, there = socket.socketpair()
    with here:
        here.settimeout(WAIT)
        with there:
            process = start(there, folder)
        here.sendall(orders)
        with here.makefile("rb") as lines:
            messages = [decode(line) for line in lines]
        _, errors = process.communicate(timeout=WAIT)
    return process.returncode, messages, errors


@pytest.mark.parametrize(
    ("scheme", "driver", "package"),
    [
        ("pg", "psycopg", "python3-psycopg"),
        ("mongodb", "pymongo", "python3-pymongo"),
        ("zmq", "zmq", "python3-zmq"),
        ("amqp", "pika", "python3-pika"),
    ],
)
def test_a_driver_that_is_missing_is_named_with_its_packages(
    scheme: str, driver: str, package: str, tmp_path: Path
) -> None:
    tmp_path.joinpath(f"{driver}.py").write_text(f'raise ImportError("No module named {driver}")')
    status, messages, errors = talk(encode(Orders(scheme=scheme)), tmp_path)
    (trouble,) = messages
    assert isinstance(trouble, Trouble)
    assert driver in trouble.message
    assert package in trouble.hint
    assert f"emperor-bridge[{scheme}]" in trouble.hint
    assert (status, errors) == (os.EX_CONFIG, "")


def test_it_ends_when_the_root_side_does() -> None:
    here, there = socket.socketpair()
    with there:
        process = start(there)
    here.close()
    assert process.communicate(timeout=WAIT)[1] == ""
    assert process.returncode == 0


@pytest.mark.parametrize("line", [b"hello\n", b'{"kind":"done","id":1}\n', encode(Orders(scheme="ftp"))])
def test_nonsense_ends_it_with_a_line_for_the_journal(line: bytes) -> None:
    status, messages, errors = talk(line)
    assert (status, messages) == (1, [])
    assert errors.startswith("the feeder stops: ")
    assert errors.count("\n") == 1


def test_a_defect_is_told_without_what_it_quotes(tmp_path: Path) -> None:
    tmp_path.joinpath("psycopg.py").write_text("raise ValueError('secret-of-the-server')")
    status, messages, errors = talk(encode(Orders(scheme="pg", options={"conninfo": "password=s3cret"})), tmp_path)
    (trouble,) = messages
    assert isinstance(trouble, Trouble)
    assert "ValueError at " in trouble.message
    assert status == 1
    assert "psycopg.py:1" in errors
    assert "secret" not in errors + trouble.message
    assert "s3cret" not in errors + trouble.message


def test_by_hand_it_says_who_starts_it() -> None:
    command = [sys.executable, "-m", "bridge.feeder"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WAIT, check=False)
    assert done.returncode == os.EX_USAGE
    assert "emperor-bridge" in done.stderr
