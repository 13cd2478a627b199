"""Stands in for a feeder, inside the machine: it says what a FIFO tells it to, and prints what it hears but orders.

It runs as the service of a monitor, through a drop-in, with Debian's own Python.
"""

from __future__ import annotations

import json
import os
import re
import select
import socket
import sys

FIFO = "/run/script-feeder"


def tell(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def main() -> None:
    with open("/proc/self/status") as file:
        facts = dict(re.findall(r"^(Uid|CapEff|CapBnd|NoNewPrivs|Seccomp):\s*(\S+)", file.read(), re.MULTILINE))
    tell("started " + json.dumps(facts))
    root = socket.socket(fileno=0)
    fifo = os.open(FIFO, os.O_RDWR)
    poll = select.poll()
    for descriptor in (0, fifo):
        poll.register(descriptor, select.POLLIN)
    heard = b""
    while True:
        for descriptor, _ in poll.poll():
            chunk = os.read(descriptor, 65536)
            if descriptor == fifo:
                root.sendall(chunk)
                continue
            if not chunk:
                tell("ended")
                return
            heard += chunk
            *lines, heard = heard.split(b"\n")
            for line in lines:
                message = json.loads(line)
                kind = message.pop("kind")
                # Orders hold the secret.
                tell("orders" if kind == "orders" else kind + " " + json.dumps(message, sort_keys=True))


if __name__ == "__main__":
    main()
