"""A socket that another process listens with can be made to listen no more."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from bridge.host.release import stop_listening


def test_somebody_else_can_listen_at_once() -> None:
    with socket.socket() as old, socket.socket() as other, socket.socket() as new:
        for one in (old, new):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for one in (old, other):
            one.bind(("127.0.0.1", 0))
            one.listen()
        address, number = old.getsockname(), os.fstat(old.fileno()).st_ino
        argv = [sys.executable, "-c", "input()"]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, pass_fds=[old.fileno(), other.fileno()]) as holder:
            old.close()
            other_address = other.getsockname()
            other.close()
            socket.create_connection(address).close()
            stop_listening([holder.pid, 0], {number})
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)
            new.bind(address)
            new.listen()
            socket.create_connection(address).close()
            socket.create_connection(other_address).close()
            assert holder.stdin is not None
            holder.stdin.write(b"\n")
