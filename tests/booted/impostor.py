"""`impostor.py PORT [SAY]`: listen where a server should, and say nothing, or to everybody SAY bytes of no sense."""

from __future__ import annotations

import os
import socket
import sys

connections = []
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    print("listens", flush=True)  # noqa: T201
    while True:
        connection, _ = listener.accept()
        connections.append(connection)
        if len(sys.argv) > 2:
            connection.sendall(os.urandom(int(sys.argv[2])))
