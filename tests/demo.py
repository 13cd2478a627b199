"""make demo: the bridge's main job on a private systemd, with real uWSGI, as an admin would see it.

Three apps are synced under each of the three on-demand rules in turn; one of them is woken, idles and waits again.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .booted.machine import Machine, MachineError

if TYPE_CHECKING:
    from collections.abc import Callable

COMMAND = str(Path(sys.executable).with_name("emperor-bridge"))
VASSALS = "/etc/uwsgi/vassals"
APP = """\
import json, os

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"app": os.environ.get("APP", "?"), "pid": os.getpid()}).encode()]
"""
CONFIG = """\
[uwsgi]
plugin = python3
wsgi-file = /srv/app.py
env = APP=%n
master = true
idle = 3
die-on-idle = true
"""
ALWAYS = """\
[uwsgi]
plugin = python3
wsgi-file = /srv/app.py
env = APP=%n
master = true
http-socket = 127.0.0.1:8080
"""
ADDRESS = """\
#!/bin/sh
# Which socket is for which vassal: here a port of its own for each, nothing for the one that runs always.
case "$1" in
    */blog.ini) echo 127.0.0.1:9001 ;;
    */shop.ini) echo '[::1]:9002' ;;
esac
"""


def main(show: Callable[[Machine], None]) -> int:
    """Show something on a machine of its own; return the exit status."""
    try:
        with Machine() as machine:
            show(machine)
    except MachineError as error:
        sys.stderr.write(f"the demo cannot go on: {error}\n")
        return 1
    return 0


def show(machine: Machine) -> None:
    version = machine.run("systemctl", "--version").stdout.splitlines()[0]
    uwsgi = machine.run("uwsgi", "--version").stdout.strip()
    tell(f"A private {version} is booted; uWSGI is {uwsgi}. Three vassals are in {VASSALS}.")
    machine.write("/srv/app.py", APP)
    machine.write_many(
        {
            f"{VASSALS}/blog.ini": CONFIG,
            f"{VASSALS}/blog.ini.socket": "/run/sites/blog.sock\n",
            f"{VASSALS}/shop.ini": CONFIG + "protocol = http\n",
            f"{VASSALS}/shop.ini.socket": ":9000\n",
            f"{VASSALS}/always.ini": ALWAYS,
        }
    )

    tell("Rule 1, the extension: NAME.ini.socket says where NAME waits; always.ini has none and runs always.")
    rule = ["--emperor", VASSALS, "--emperor-on-demand-extension", ".socket"]
    bridge(machine, "sync", *rule)
    bridge(machine, "status", *rule)
    tell("No process of blog or shop is there yet. A request to blog wakes it, with the socket on fd 0:")
    ask(machine, "uwsgi", "/run/sites/blog.sock")
    run(machine, "journalctl", "-u", "vassal-blog.service", "-o", "cat", "-g", "fd 0")
    bridge(machine, "status", *rule)
    tell("Now it idles: idle = 3 and die-on-idle end it, and systemd listens again.")
    machine.wait_unit("vassal-blog.service", "SubState", "dead", 30)
    bridge(machine, "status", *rule)
    tell("The next request is answered by a new process:")
    ask(machine, "uwsgi", "/run/sites/blog.sock")

    tell("Rule 2, the directory: every vassal waits on DIR/NAME.socket. The addresses move; always.ini waits too.")
    machine.write(f"{VASSALS}/always.ini", CONFIG)
    rule = ["--emperor", VASSALS, "--emperor-on-demand-directory", "/run/apps"]
    bridge(machine, "sync", *rule)
    ask(machine, "uwsgi", "/run/apps/always.socket")
    bridge(machine, "status", *rule)

    tell("Rule 3, the command: a program is asked for each vassal's address.")
    machine.write("/usr/local/bin/address-of", ADDRESS, mode=0o755)
    machine.write(f"{VASSALS}/always.ini", ALWAYS)
    rule = ["--emperor", VASSALS, "--emperor-on-demand-exec", "/usr/local/bin/address-of"]
    bridge(machine, "sync", *rule)
    ask(machine, "http", "[::1]:9002")
    bridge(machine, "status", *rule)

    tell("Each app is a unit of its own, with its own cgroup and journal:")
    run(machine, "systemctl", "status", "--no-pager", "--lines=0", "vassal-shop.service")
    tell("And the way back: everything the bridge made goes, nothing else.")
    bridge(machine, "remove", "--yes")


def tell(text: str) -> None:
    sys.stdout.write(f"\n{bold(text)}\n")
    sys.stdout.flush()


def bridge(machine: Machine, *arguments: str) -> None:
    say_command(shlex.join(("emperor-bridge", *arguments)))
    output(machine.run(COMMAND, *arguments).stdout)


def run(machine: Machine, *argv: str) -> None:
    say_command(shlex.join(argv))
    output(machine.run(*argv).stdout)


def ask(machine: Machine, protocol: str, address: str) -> None:
    response = machine.request(protocol, address)
    if response.status != 200:
        raise MachineError(f"{address} did not answer: {response}")
    app = json.loads(response.body)
    output(
        f"{protocol} request to {address}: {app['app']} answers from PID {app['pid']}, {response.elapsed * 1000:.0f} ms"
    )


def say_command(text: str) -> None:
    sys.stdout.write(f"$ {bold(text)}\n")


def output(text: str) -> None:
    sys.stdout.write("".join(f"  {line}\n" for line in text.splitlines()))
    sys.stdout.flush()


def bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text


if __name__ == "__main__":
    sys.exit(main(show))
