"""A RabbitMQ of Debian's package in a folder of its own: not the machine's own service, and any number at once.

:func:`configuration`, :func:`environment` and ``SERVER`` are all that is needed to start one elsewhere, such as in a
booted machine.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

USER = "rabbitmq"
PROGRAMS = Path("/usr/lib/rabbitmq/bin")
SERVER = str(PROGRAMS / "rabbitmq-server")
LOGIN, PASSWORD, VHOST = "bridge", "sesame-of-the-broker", "fleet"
WAIT = 60.0
"""Seconds in which it must be up or down; it takes about six."""


def configuration(port: int, *, tls: Path | None = None) -> str:
    """Return a rabbitmq.conf with one user and one vhost; ``tls`` is a folder with ca.pem, cert.pem and key.pem."""
    lines = [f"default_user = {LOGIN}", f"default_pass = {PASSWORD}", f"default_vhost = {VHOST}"]
    lines += [f"default_permissions.{right} = .*" for right in ("configure", "read", "write")]
    lines += [f"listeners.tcp.1 = 127.0.0.1:{port}"]
    if tls is not None:
        lines += [f"listeners.ssl.1 = 127.0.0.1:{port + 1}", "ssl_options.verify = verify_none"]
        lines += [f"ssl_options.{key} = {tls}/{name}.pem" for key, name in TLS_FILES.items()]
    return "\n".join(lines) + "\n"


TLS_FILES = {"cacertfile": "ca", "certfile": "cert", "keyfile": "key"}


def environment(folder: Path, port: int) -> dict[str, str]:
    """Return the environment of a server and of its commands, with all files in ``folder``.

    It takes the port, the next one if it has TLS, and the two after that for Erlang.
    """
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(port + 2),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_DIST_PORT": str(port + 3),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_NODENAME": f"test-{port}@localhost",
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        # Erlang's threads spin for a while before they sleep.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none",
    }


class RabbitMQ:
    """One server on ``port`` of 127.0.0.1. What it knows stays in ``folder`` while it is down."""

    def __init__(self, folder: Path, port: int, *, tls: Path | None = None) -> None:
        self.port = port
        self.tls_port = port + 1
        self._folder = folder
        self._environment = environment(folder, port)
        self._server: subprocess.Popen[bytes] | None = None
        self._names: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        (folder / "rabbitmq.conf").write_text(configuration(port, tls=tls))
        shutil.chown(folder, USER, USER)

    @property
    def url(self) -> str:
        """Where it is, with user, password and vhost."""
        return f"amqp://{LOGIN}:{PASSWORD}@127.0.0.1:{self.port}/{VHOST}"

    def start(self) -> None:
        """Start it, and wait until it speaks AMQP."""
        if self._names is None:
            # Erlang would start one itself, and leave it behind.
            self._names = self._run(["epmd", "-port", self._environment["ERL_EPMD_PORT"], "-address", "127.0.0.1"])
        self._server = self._run([SERVER])
        until = time.monotonic() + WAIT
        while not self._speaks():
            assert self._server.poll() is None, self.log()
            assert time.monotonic() < until, self.log()
            time.sleep(0.05)

    def stop(self) -> None:
        """Shut it down in order: it says goodbye to its clients."""
        assert self._server is not None
        self._server.terminate()
        assert self._server.wait(WAIT) == 0, self.log()

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        for pid in reversed(self.processes()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._server is not None:
            self._server.wait()

    def freeze(self) -> None:
        """Stop all its processes by SIGSTOP: the kernel goes on to accept connections."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them run again."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """Leave no process behind."""
        self.kill()
        if self._names is not None:
            self._names.kill()
            self._names.wait()

    def control(self, *arguments: str) -> str:
        """Run rabbitmqctl, and return what it prints."""
        result = subprocess.run(
            [str(PROGRAMS / "rabbitmqctl"), "--quiet", *arguments],
            env=self._environment,
            cwd=self._folder,
            user=USER,
            group=USER,
            extra_groups=[],
            capture_output=True,
            text=True,
            timeout=WAIT,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def processes(self) -> list[int]:
        """Return its processes, the shell that started it first."""
        found: list[int] = [] if self._server is None or self._server.poll() is not None else [self._server.pid]
        for pid in found:
            with suppress(OSError):
                for path in Path(f"/proc/{pid}/task").glob("*/children"):
                    found += [int(child) for child in path.read_text().split()]
        return found

    def log(self) -> str:
        """Return what it has written to its log."""
        return (self._folder / "log").read_text()

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _run(self, command: list[str]) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                command,
                env=self._environment,
                cwd=self._folder,
                user=USER,
                group=USER,
                extra_groups=[],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _speaks(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as end:
            end.sendall(b"AMQP\0\0\x09\x01")
            return end.recv(1) == b"\1"
        return False
