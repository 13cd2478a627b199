"""Send one request in the machine and print what came back as JSON.

`client.py PROTOCOL ADDRESS [--path PATH] [--timeout SECONDS]`: the protocol is a key of `PROTOCOLS`; the address is
/a/unix/path, @abstract, 127.0.0.1:8000 or [::1]:8000. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import socket
import ssl
import struct
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FCGI_BEGIN_REQUEST, FCGI_END_REQUEST, FCGI_PARAMS, FCGI_STDIN, FCGI_STDOUT = 1, 3, 4, 5, 6
FCGI_RESPONDER = 1


def nothing() -> None:
    """Do nothing."""


class Connection:
    """A stream whose every step must be done by one deadline."""

    def __init__(self, address: str, timeout: float, on_sent: Callable[[], None] = nothing) -> None:
        self.on_sent = on_sent
        """Called when the request waits to be read."""
        self._deadline = time.monotonic() + timeout
        family, target = parse_address(address)
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._limit()
        self._socket.connect(target)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send everything."""
        self._limit()
        self._socket.sendall(data)
        self.on_sent()

    def encrypt(self) -> None:
        """Speak TLS from now on, with whoever is there."""
        self.on_sent()
        self._limit()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._socket = context.wrap_socket(self._socket)

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes; none at the end."""
        self._limit()
        return self._socket.recv(size)

    def read_all(self) -> bytes:
        """Read to the end of the stream."""
        return b"".join(iter(lambda: self.read(65536), b""))

    def read_exactly(self, size: int) -> bytes:
        """Read `size` bytes, or raise ConnectionError when the stream ends before."""
        data = b""
        while len(data) < size:
            chunk = self.read(size - len(data))
            if not chunk:
                raise ConnectionError(f"the stream ended after {len(data)} of {size} bytes")
            data += chunk
        return data

    def _limit(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(left)


def parse_address(address: str) -> tuple[socket.AddressFamily, str | tuple[str, int]]:
    """Return the family and the address as the socket module wants them."""
    if address.startswith("/"):
        return socket.AF_UNIX, address
    if address.startswith("@"):
        return socket.AF_UNIX, "\0" + address[1:]
    host, _, port = address.rpartition(":")
    if host.startswith("["):
        return socket.AF_INET6, (host.strip("[]"), int(port))
    return socket.AF_INET, (host or "127.0.0.1", int(port))


def variables(path: str) -> dict[str, str]:
    """Return the request variables a web server would pass on."""
    path_info, _, query = path.partition("?")
    return {
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": path,
        "PATH_INFO": path_info,
        "SCRIPT_NAME": "",
        "QUERY_STRING": query,
        "CONTENT_TYPE": "",
        "CONTENT_LENGTH": "",
        "SERVER_PROTOCOL": "HTTP/1.0",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "localhost",
    }


def ask_uwsgi(connection: Connection, path: str) -> bytes:
    """Send modifier 0, the size and the variables, each with its length in little-endian 16 bits."""
    body = b""
    for name, value in variables(path).items():
        for text in (name.encode(), value.encode()):
            body += struct.pack("<H", len(text)) + text
    connection.send(struct.pack("<BHB", 0, len(body), 0) + body)
    return connection.read_all()


def ask_http(connection: Connection, path: str) -> bytes:
    """Send an HTTP/1.0 request, whose answer ends with the connection."""
    connection.send(f"GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    return connection.read_all()


def ask_https(connection: Connection, path: str) -> bytes:
    """Send an HTTP request through TLS."""
    connection.encrypt()
    return ask_http(connection, path)


def ask_scgi(connection: Connection, path: str) -> bytes:
    """Send the variables as one netstring, the length of the content first."""
    given = {**variables(path), "CONTENT_LENGTH": "0", "SCGI": "1"}
    names = ["CONTENT_LENGTH", *(name for name in given if name != "CONTENT_LENGTH")]
    body = b"".join(f"{name}\0{given[name]}\0".encode() for name in names)
    connection.send(f"{len(body)}:".encode() + body + b",")
    return connection.read_all()


def fastcgi_record(kind: int, content: bytes) -> bytes:
    """Frame one FastCGI record of request 1."""
    return struct.pack(">BBHHBx", 1, kind, 1, len(content), 0) + content


def fastcgi_length(size: int) -> bytes:
    """Write a FastCGI name or value length: one byte below 128, else four with the high bit set."""
    return bytes([size]) if size < 0x80 else struct.pack(">I", size | 0x80000000)


def ask_fastcgi(connection: Connection, path: str) -> bytes:
    """Send begin, parameters and an empty input; collect the output up to the end record."""
    parameters = b""
    for name, value in variables(path).items():
        key, content = name.encode(), value.encode()
        parameters += fastcgi_length(len(key)) + fastcgi_length(len(content)) + key + content
    connection.send(
        fastcgi_record(FCGI_BEGIN_REQUEST, struct.pack(">HB5x", FCGI_RESPONDER, 0))
        + fastcgi_record(FCGI_PARAMS, parameters)
        + fastcgi_record(FCGI_PARAMS, b"")
        + fastcgi_record(FCGI_STDIN, b"")
    )
    output = b""
    while True:
        header = connection.read_exactly(8)
        _, kind, _, size, padding = struct.unpack(">BBHHBx", header)
        content = connection.read_exactly(size + padding)[:size]
        if kind == FCGI_STDOUT:
            output += content
        elif kind == FCGI_END_REQUEST:
            return output


PROTOCOLS: dict[str, Callable[[Connection, str], bytes]] = {
    "uwsgi": ask_uwsgi,
    "http": ask_http,
    "https": ask_https,
    "scgi": ask_scgi,
    "fastcgi": ask_fastcgi,
}


def parse_response(data: bytes) -> tuple[int, str]:
    """Return the status and body of an HTTP or CGI answer."""
    head, separator, body = data.partition(b"\r\n\r\n")
    if not data:
        raise ConnectionError("empty reply")
    if not separator:
        raise ConnectionError(f"the reply has no header: {data[:200]!r}")
    lines = head.decode("latin-1").split("\r\n")
    for line in lines:
        name, _, value = line.partition(" ")
        if name.startswith("HTTP/") or name.lower() == "status:":
            return int(value.split()[0]), body.decode(errors="replace")
    return 200, body.decode(errors="replace")


def request(
    protocol: str, address: str, path: str, timeout: float, on_sent: Callable[[], None] = nothing
) -> dict[str, object]:
    """Send one request and describe the outcome; an error is an outcome too."""
    started = time.monotonic()
    status, body, error = None, "", None
    try:
        connection = Connection(address, timeout, on_sent)
        try:
            status, body = parse_response(PROTOCOLS[protocol](connection, path))
        finally:
            connection.close()
    except (OSError, ValueError) as failure:
        error = f"{type(failure).__name__}: {failure}"
    return {"status": status, "body": body, "error": error, "elapsed": time.monotonic() - started}


def main() -> None:
    """Read the arguments, send the request, print the outcome."""
    parser = argparse.ArgumentParser()
    parser.add_argument("protocol", choices=sorted(PROTOCOLS))
    parser.add_argument("address")
    parser.add_argument("--path", default="/")
    parser.add_argument("--timeout", type=float, default=10.0)
    arguments = parser.parse_args()
    outcome = request(arguments.protocol, arguments.address, arguments.path, arguments.timeout)
    json.dump(outcome, sys.stdout)


if __name__ == "__main__":
    main()
