"""The first connection reaches the vassal as fd 0, whatever the rule, the address, the protocol and who connects."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from .bridge import VASSALS, config
from .machine import message

if TYPE_CHECKING:
    from .bridge import Bridge
    from .machine import Machine

PROTOCOLS = ("uwsgi", "http", "fastcgi")
EXEC = "/usr/local/bin/address-of"
EXEC_TEXT = """\
#!/bin/sh
echo "@$1"
"""
WEB = "/srv/web/nginx.conf"
WEB_TEXT = """\
user www-data;
pid /run/web.pid;
error_log stderr;
events {}
http {
    access_log off;
    server {
        listen 127.0.0.1:8080;
        location /uwsgi { include uwsgi_params; uwsgi_pass unix:/run/web-uwsgi.sock; }
        location /fastcgi {
            include fastcgi_params;
            fastcgi_param PATH_INFO $fastcgi_script_name;
            fastcgi_pass unix:/run/web-fastcgi.sock;
        }
        location /closed { include uwsgi_params; uwsgi_pass unix:/run/web-closed.sock; }
    }
}
"""


def inherited(machine: Machine, vassal: str, cursor: str) -> str:
    """Return the address of the socket that uWSGI says it got as fd 0."""
    text = message(machine.wait_journal("inherited", unit=f"vassal-{vassal}.service", since_cursor=cursor))
    found = re.fullmatch(r"uwsgi socket 0 inherited \w+ address (.+) fd 0", text)
    assert found, text
    return found[1]


def access(machine: Machine, path: str) -> str:
    return machine.run("stat", "--format=%a %U:%G", path).stdout.strip()


def test_every_protocol_works_at_every_kind_of_address(machine: Machine, bridge: Bridge) -> None:
    addresses: dict[str, tuple[str, str, str]] = {}
    for number, protocol in enumerate(PROTOCOLS):
        addresses |= {
            f"unix_{protocol}": (protocol, f"/run/{protocol}.sock", f"/run/{protocol}.sock"),
            f"abstract_{protocol}": (protocol, f"@on demand {protocol}", f"@on demand {protocol}"),
            f"ipv4_{protocol}": (protocol, f"127.0.0.2:{9000 + number}", f"127.0.0.2:{9000 + number}"),
            f"ipv6_{protocol}": (protocol, f"[::1]:{9100 + number}", f":{9100 + number}"),
            f"port_{protocol}": (protocol, f":{9200 + number}", f":{9200 + number}"),
        }
    for vassal, (protocol, address, _) in addresses.items():
        bridge.vassal(f"{vassal}.ini", config(f"protocol = {protocol}"), address=address)
    bridge.sync()
    cursor = machine.journal_cursor()
    masters = {vassal: bridge.app(protocol, address)["ppid"] for vassal, (protocol, address, _) in addresses.items()}

    status = bridge.status()
    assert {vassal: status[f"{vassal}.ini"]["pid"] for vassal in addresses} == masters
    for vassal, (_, _, logged) in addresses.items():
        # uWSGI logs what is behind an abstract name in memory too.
        assert inherited(machine, vassal, cursor).startswith(logged), vassal
    # Like the Emperor's, a bare port is IPv4's only.
    assert "refused" in str(machine.request("http", "[::1]:9201").error)


def test_the_directory_rule_takes_the_name_up_to_its_last_dot(machine: Machine, bridge: Bridge) -> None:
    bridge.options = ["--emperor", VASSALS, "--emperor-on-demand-directory", "/run"]
    bridge.vassal("blog.example.org.ini")
    bridge.sync()
    cursor = machine.journal_cursor()
    bridge.app("uwsgi", "/run/blog.example.org.socket")
    assert inherited(machine, "blog.example.org", cursor) == "/run/blog.example.org.socket"


def test_the_exec_rule_asks_the_command_with_the_whole_path(machine: Machine, bridge: Bridge) -> None:
    machine.write(EXEC, EXEC_TEXT, mode=0o755)
    machine.cleanups.append(lambda: machine.remove(EXEC))
    bridge.options = ["--emperor", VASSALS, "--emperor-on-demand-exec", EXEC]
    bridge.vassal("shop.ini")
    bridge.sync()
    cursor = machine.journal_cursor()
    bridge.app("uwsgi", f"@{VASSALS}/shop.ini")
    inherited(machine, "shop", cursor)


def test_nginx_reaches_the_vassals_that_let_it_in(machine: Machine, bridge: Bridge) -> None:
    def clean_up() -> None:
        machine.run("systemctl", "stop", "web.service", check=False)
        machine.remove("/srv/web")

    machine.cleanups.append(clean_up)
    # nginx looks for included files beside its configuration.
    parameters = {f"/srv/web/{name}": machine.read(f"/etc/nginx/{name}") for name in ("uwsgi_params", "fastcgi_params")}
    machine.write_many({WEB: WEB_TEXT, **parameters})
    machine.run(
        *("systemd-run", "--unit=web", "--service-type=forking", "--property=PIDFile=/run/web.pid", "--quiet"),
        *("nginx", "-c", WEB),
    )
    bridge.vassal("uwsgi.ini", config("chown-socket = root:www-data"), address="/run/web-uwsgi.sock")
    bridge.vassal("fastcgi.ini", config("protocol = fastcgi", "chmod-socket = 1"), address="/run/web-fastcgi.sock")
    bridge.vassal("closed.ini", address="/run/web-closed.sock")
    bridge.sync()
    cursor = machine.journal_cursor()
    expected = {
        "/run/web-uwsgi.sock": "660 root:www-data",
        "/run/web-fastcgi.sock": "666 root:root",
        "/run/web-closed.sock": "660 root:root",
    }
    assert {path: access(machine, path) for path in expected} == expected

    for protocol in ("uwsgi", "fastcgi"):
        response = machine.request("http", "127.0.0.1:8080", f"/{protocol}")
        assert response.status == 200, response
        assert json.loads(response.body)["path"] == f"/{protocol}"
        inherited(machine, protocol, cursor)
    assert machine.request("http", "127.0.0.1:8080", "/closed").status == 502
    bridge.app("uwsgi", "/run/web-closed.sock")
    assert {path: access(machine, path) for path in expected} == expected
