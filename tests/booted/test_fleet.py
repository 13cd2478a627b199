"""One fleet: three hosts follow one PostgreSQL, or one RabbitMQ, as the manual has it."""

from __future__ import annotations

import re
import statistics
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.servers import manual

from .bridge import APP_TEXT, config, install
from .conftest import clean
from .fleet_hosts import Host, plugged_in
from .fleet_sources import PAGE, Exchange, Source, Table
from .soak import times
from .steady import asked

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from .machine import Machine

MIRROR = "/var/lib/emperor-bridge"
STATES, ASKED = f"{MIRROR}/monitors*/*/state.json", '"asked": [0-9]'
TOML, SECRET = "/etc/emperor-bridge/bridge.toml", "/etc/emperor-bridge/fleet.secret"
SOON = 1.0
"""Seconds in which a change must be in force on all hosts."""
PAUSE = 6.0
"""Seconds at most between two attempts to reach a server that is down."""
WEB = "/srv/web/nginx.conf"
TOUCH = "UPDATE vassals SET ts = to_timestamp({}) WHERE host = 'web1' AND name = 'site0.ini';"
SLOW = APP_TEXT.replace("import json", "import time, json").replace("    return", "    time.sleep(0.05)\n    return")
"""An app whose answers take a while: when its site ends, one is most often on its way."""
UPSTREAM = "/etc/nginx/blog.upstream"


@pytest.fixture(scope="module")
def hosts(machine: Machine) -> Iterator[list[Host]]:
    with plugged_in(machine) as booted:
        yield booted


@pytest.fixture(scope="module")
def cluster(machine: Machine) -> Iterator[Table]:
    made = Table(machine)
    made.make()
    yield made
    made.remove()


@pytest.fixture
def table(hosts: list[Host], cluster: Table) -> Iterator[Table]:
    """The table without rows, and three daemons that follow it."""
    cluster.ask("DELETE FROM vassals;")
    with following(hosts, cluster):
        yield cluster


@pytest.fixture(scope="module")
def broker(machine: Machine, hosts: list[Host]) -> Iterator[Exchange]:
    # Their network has the broker's name.
    assert hosts
    made = Exchange(machine)
    made.make()
    yield made
    made.remove()


@pytest.fixture
def exchange(hosts: list[Host], broker: Exchange) -> Iterator[Exchange]:
    """The exchange, and three daemons that follow it."""
    with following(hosts, broker):
        yield broker


@pytest.fixture(params=["table", "exchange"])
def source(request: pytest.FixtureRequest) -> Source:
    made: Source = request.getfixturevalue(request.param)
    return made


@contextmanager
def following(hosts: list[Host], source: Source) -> Iterator[None]:
    """Have all hosts follow a source as long as the block lasts."""
    monitors = "".join(manual.block(PAGE, begin) for begin in source.monitors)
    with ExitStack() as stack:
        for host in hosts:
            stack.callback(clean, host.machine)
            host.machine.cleanups.append(partial(host.machine.remove, "/etc/emperor-bridge", "/srv/blog", MIRROR))
            install(host.machine)
            host.machine.write("/srv/blog/app.py", SLOW)
            host.machine.write_many({TOML: monitors, SECRET: "secret\n"}, mode=0o600)
            host.machine.cleanups.append(host.bridge.clear)
            host.bridge.options = []
            host.watch()
        for host in hosts:
            host.machine.until(f"[ $(grep -ls '{ASKED}' {STATES} | wc -l) = {len(source.monitors)} ]")
        yield


def until_told(hosts: list[Host], pattern: str, timeout: float = 60.0) -> float:
    """Return when the last host has told something."""
    return max(host.told_at(pattern, timeout=timeout) for host in hosts)


def answers(hub: Machine, hosts: list[Host], *ports: int) -> None:
    """See that sites answer on all hosts."""
    for host in hosts:
        for port in ports:
            response = hub.request("uwsgi", f"{host.name}:{port}")
            assert response.status == 200, (host.name, port, response)


def test_a_change_reaches_all_hosts_within_a_second(
    machine: Machine, hosts: list[Host], source: Source, counts: Counter[str]
) -> None:
    source.place("blog.ini", config(), ":9001")
    until_told(hosts, r"^blog\.ini: added")
    taken = []

    def told(at: float, what: str) -> None:
        taken.append(until_told(hosts, f"^{what}") - at)

    for number in range(times(7)):
        name = f"site{number}.ini"
        told(source.place(name, config(), ":9002"), f"{name}: added, .*:9002")
        told(source.place(name, config(), ":9003"), f"{name}: changed, .*:9003")
        told(source.withdraw(name), f"{name}: removed")
    told(source.place("last.ini", config(), ":9002"), r"last\.ini: added")
    answers(machine, hosts, 9001, 9002)
    what = f"ms until a change is in force on {len(hosts)} hosts by {source.server}"
    counts[f"{what}, median of {len(taken)}"] = round(1000 * statistics.median(taken))
    counts[f"{what}, worst of {len(taken)}"] = round(1000 * max(taken))
    assert statistics.median(taken) < SOON
    assert max(taken) < SOON


def test_sites_outlive_the_server_and_a_reboot_and_all_hosts_converge(
    machine: Machine, hosts: list[Host], source: Source, counts: Counter[str]
) -> None:
    source.place("blog.ini", config(), ":9001")
    source.place("always.ini", config("socket = :9002"), None)
    source.place("old.ini", config(), ":9003")
    until_told(hosts, r"^old\.ini: added")
    answers(machine, hosts, 9001, 9002, 9003)

    source.die()
    until_told(hosts, "fleet: error: as of .*; cannot be asked since ")
    hosts[1].machine.reboot()
    hosts[1].bridge.cursor = None
    until_told(hosts[1:2], "fleet: error: as of .*; cannot be asked since ")
    answers(machine, hosts, 9001, 9002, 9003)

    source.rise()
    source.withdraw("old.ini")
    at = source.place("new.ini", config(), ":9004")
    converged = max(until_told(hosts, rf"^{told}", PAUSE + 30) for told in (r"old\.ini: removed", r"new\.ini: added"))
    counts[f"ms until {len(hosts)} hosts converge after {source.server} is back"] = round(1000 * (converged - at))
    assert converged - at < PAUSE + 5
    answers(machine, hosts, 9001, 9002, 9004)
    for host in hosts:
        assert sorted(host.bridge.status()) == ["always.ini", "blog.ini", "new.ini"]
        assert machine.request("uwsgi", f"{host.name}:9003").status is None


def test_a_host_has_an_exchange_of_its_own(machine: Machine, hosts: list[Host], exchange: Exchange) -> None:
    exchange.place("own.ini", config(), ":9001", exchange="emperor-bridge.web2.own")
    until_told(hosts[1:2], r"^own\.ini: added")
    exchange.place("all.ini", config(), ":9002")
    until_told(hosts, r"^all\.ini: added")
    answers(machine, hosts[1:2], 9001)
    assert [machine.request("uwsgi", f"{host.name}:9001").status for host in hosts] == [None, 200, None]


def test_a_site_moves_and_no_request_fails(machine: Machine, table: Table, counts: Counter[str]) -> None:
    table.ask(manual.block(PAGE, "INSERT INTO vassals (host, name, config, socket)"), role="deploy")
    until_answers(machine, "web1")
    with front(machine), asked(machine, "127.0.0.1:80", "db:80", protocol="http") as count:
        for _ in range(times(1)):
            move(machine, table, "web1", "web2")
            move(machine, table, "web2", "web1")
        both = manual.block(PAGE, "upstream blog {\n    server").splitlines()[1:-1]
        machine.write(UPSTREAM, "\n".join(both))
        reload_front(machine)
        for _ in range(times(1)):
            move(machine, table, "web1", "web2", by_front=False)
            move(machine, table, "web2", "web1", by_front=False)
    counts["visits while a site moved; each was answered"] = count.total()


def move(machine: Machine, table: Table, old: str, new: str, *, by_front: bool = True) -> None:
    """Move the site as the manual says; the hosts' names there stand for these."""

    def step(begin: str) -> str:
        names = {"web1": old, "web2": new}
        text = re.sub("web[12]", lambda found: names[found[0]], manual.block(PAGE, begin))
        return table.ask(text, role="deploy")

    step("INSERT INTO vassals (host, name, config, uid, gid, socket)")
    until_answers(machine, new)
    if by_front:
        machine.write(UPSTREAM, step("SELECT format("))
        reload_front(machine)
    step("DELETE FROM vassals")
    until_answers(machine, old, None)


def until_answers(machine: Machine, host: str, status: int | None = 200) -> None:
    """Wait until the site answers on a host, or until nothing listens there."""
    deadline = time.monotonic() + 60
    while machine.request("http", f"{host}:9001").status != status:
        assert time.monotonic() < deadline, host


@contextmanager
def front(machine: Machine) -> Iterator[None]:
    """Run an nginx with the manual's lines."""
    site = manual.block(PAGE, "upstream blog {\n    include")
    text = f"pid /run/web.pid; error_log stderr; events {{}} http {{ access_log off; {site} }}"
    machine.write_many({WEB: text, UPSTREAM: "server web1:9001;\n"})
    service = ("--unit=web", "--service-type=forking", "--property=PIDFile=/run/web.pid", "--quiet")
    try:
        machine.run("systemd-run", *service, "nginx", "-c", WEB)
        yield
    finally:
        machine.run("systemctl", "stop", "web.service", check=False)
        machine.remove("/srv/web", UPSTREAM)


def reload_front(machine: Machine) -> None:
    """Have nginx read its files, and wait until the processes that it had before have ended."""
    workers = machine.run("pgrep", "--parent", machine.read("/run/web.pid").strip()).stdout.split()
    machine.run("nginx", "-c", WEB, "-s", "reload")
    machine.until(f"! ps -p {','.join(workers)} >/dev/null")


def test_what_a_change_costs_the_server(
    machine: Machine, hosts: list[Host], table: Table, counts: Counter[str]
) -> None:
    text = config() + "#" * 520
    for number in range(10):
        table.place(f"site{number}.ini", text, f":{9100 + number}")
    until_told(hosts, r"^site9\.ini: added")
    questions = manual.block(PAGE, "SELECT sum(calls)")
    assert table.ask(manual.block(PAGE, "SELECT count(*)")) == str(len(hosts))

    table.ask("SELECT pg_stat_statements_reset();")
    before, changes = traffic(machine), times(5)
    for number in range(changes):
        expected = len(hosts) * (number + 1)
        table.ask(TOUCH.format(number), role="deploy")
        until_asked(table, questions, expected)
    calls, rows, seconds = (float(word or 0) for word in table.ask(questions).split("|"))
    assert (calls, rows) == (changes * len(hosts), changes * len(hosts) * 10)
    counts["bytes for one change on one host with ten sites"] = (traffic(machine) - before) // int(calls)
    counts["microseconds of the server for one question"] = round(seconds * 1000 / calls)


def until_asked(table: Table, questions: str, expected: int) -> None:
    """Wait until all hosts have asked so often."""
    deadline = time.monotonic() + 30
    while (found := int(table.ask(questions).partition("|")[0] or 0)) < expected:
        assert time.monotonic() < deadline, (found, expected)


def traffic(machine: Machine) -> int:
    """Return how many bytes have gone through the cables of all hosts."""
    text = machine.run("sh", "-c", "cat /sys/class/net/vb-web*/statistics/?x_bytes").stdout
    return sum(map(int, text.split()))
