"""What is no server, but listens where one should."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Fake:
    """A server that accepts connections and says these bytes, or nothing."""

    def __init__(self, says: bytes) -> None:
        self._says = says
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self.port = self._listener.getsockname()[1]
        self.heard: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            if self._says:
                with suppress(OSError):
                    self.heard.append(connection.recv(4096))
                    connection.sendall(self._says)

    def close(self) -> None:
        """Hang up on everybody."""
        self._listener.shutdown(socket.SHUT_RDWR)
        for end in (self._listener, *self._connections):
            end.close()


class Proxy:
    """Passes connections on to a port of 127.0.0.1, and cuts each after so many bytes of the server."""

    def __init__(self, port: int) -> None:
        self.cut_after = 1 << 60
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Accept no more connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(client, self.cut_after), daemon=True).start()

    def _pass_on(self, client: socket.socket, left: int) -> None:
        with client, socket.create_connection(("127.0.0.1", self._to)) as server, suppress(OSError):
            while True:
                readable, _, _ = select.select([client, server], [], [])
                for end in readable:
                    data = end.recv(65536)
                    if not data:
                        return
                    if end is server:
                        data = data[:left]
                        left -= len(data)
                    (client if end is server else server).sendall(data)
                    if left == 0:
                        return
