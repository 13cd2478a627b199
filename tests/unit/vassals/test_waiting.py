"""Tests for where a vassal waits: on its rule's address, on its own sockets, or nowhere."""

from __future__ import annotations

import pytest

from bridge.config.settings import OwnSocketsMode
from bridge.model.address import Address, UnixAddress, parse_address
from bridge.model.vassal import VassalRow, Way
from bridge.uwsgi.options import Config, Option
from bridge.vassals.on_demand import RuleResult
from bridge.vassals.own_sockets import OWN_MAX, own_sockets
from bridge.vassals.tenant import TenantBoundary
from bridge.vassals.waiting import Waiting, WaitingRules
from tests.unit.build import as_is, make_vassal

ALL = OwnSocketsMode.ALL


def config(*lines: str, unread: tuple[str, ...] = ()) -> Config:
    def option(number: int, line: str) -> Option:
        key, _, value = line.partition(" = ")
        return Option(key, value, "/v/app.ini", number + 2)

    return Config(
        "/v/app.ini",
        tuple(option(number, line) for number, line in enumerate(lines)),
        tuple(option(number, line) for number, line in enumerate(unread)),
    )


def decide(
    given: Config, mode: OwnSocketsMode = ALL, rule: str = "", boundary: TenantBoundary | None = None
) -> Waiting:
    result = RuleResult(address=parse_address(rule, base="/")) if rule else RuleResult()
    return WaitingRules(as_is, boundary, mode).decide(given, make_vassal(), result)


def waits(found: Waiting) -> tuple[Way, list[str]]:
    assert not found.problems
    return found.way, [str(address) for address in found.addresses]


@pytest.mark.parametrize(
    ("line", "address"),
    [
        ("socket = /run/a.sock", "/run/a.sock"),
        ("uwsgi-socket = @abstract", "@abstract"),
        ("http-socket = :9302", "0.0.0.0:9302"),
        ("http-socket = 0.0.0.0:9302", "0.0.0.0:9302"),
        ("fastcgi-socket = 127.0.0.1:9000", "127.0.0.1:9000"),
        ("scgi-socket = [::1]:9311", "[::1]:9311"),
        ("http11-socket = [::]:9311", "[::]:9311"),
        ("https-socket = 10.0.0.1:443,c.pem,k.pem", "10.0.0.1:443"),
        ("shared-socket = 127.0.0.1:80", "127.0.0.1:80"),
        ("socket =  /run/a.sock", "/run/a.sock"),
    ],
)
def test_what_is_handed_over(line: str, address: str) -> None:
    assert waits(decide(config(line))) == (Way.OWN, [address])


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("socket = run/a.sock", "write the whole path"),
        ("socket = /run//a.sock", "write socket = /run/a.sock"),
        ("socket = /var/run/a.sock", "write socket = /var/run/a.sock"),
        ("socket = localhost:9316", "write socket = 127.0.0.1:9316"),
        ("http-socket = *:9314", "write http-socket = 0.0.0.0:9314"),
        ("socket = :0", "write a plain address, such as IP:PORT"),
        ("socket = :09000", "write socket = 0.0.0.0:9000"),
        ("socket = [0:0::1]:80", "write socket = [::1]:80"),
        ("socket = [::ffff:10.0.0.1]:80", "write socket = 10.0.0.1:80"),
        ("socket = [fe80::1%eth0]:80", "write a plain address, such as IP:PORT"),
        ("socket = web:http", "write a plain address, such as IP:PORT"),
        ("shared-socket = [::1]:9000", "write a socket of its own instead"),
    ],
)
def test_what_is_not_found_among_the_descriptors(line: str, hint: str) -> None:
    own = own_sockets(config(line), as_is)
    assert own.obstacle is not None
    assert own.obstacle.hint == hint
    assert decide(config(line)).reason.startswith(line)


@pytest.mark.parametrize("line", ["unshare = net", "setns = /run/ns", "pivot-root = /a /b", "zerg = /z"])
def test_sockets_in_another_place(line: str) -> None:
    assert decide(config("socket = :9302", line)).reason.startswith(line)


def test_paths_below_another_root() -> None:
    found = decide(config("chroot = /srv", "socket = :9302", "socket = /run/a"))
    assert found.reason == "chroot = /srv has uWSGI bind /run/a below it"
    assert waits(decide(config("chroot = /srv", "socket = :9302", "socket = @a"))) == (Way.OWN, ["0.0.0.0:9302", "@a"])


def test_a_path_and_an_abstract_name_that_uwsgi_takes_for_the_same() -> None:
    found = decide(config("socket = /run/a", "http-socket = @run/a"))
    assert found.reason == "http-socket = @run/a is the same to uWSGI as /run/a"
    assert waits(decide(config("socket = 10.0.0.1:80", "socket = 20.0.0.1:80")))[0] is Way.OWN


def test_all_sockets_of_a_config_in_their_order() -> None:
    lines = ("http-socket = :81", "socket = /run/a", "http-socket = :81", "stats = /run/s", "socket = =0")
    assert waits(decide(config(*lines))) == (Way.OWN, ["0.0.0.0:81", "/run/a"])


def test_sockets_that_exclude_each_other_or_are_too_many() -> None:
    assert "overlaps with 0.0.0.0:80" in decide(config("socket = :80", "socket = 127.0.0.1:80")).reason
    most = [f"socket = /run/{number}" for number in range(OWN_MAX)]
    assert len(decide(config(*most)).addresses) == OWN_MAX
    assert f"comes after {OWN_MAX} others" in decide(config(*most, "socket = /run/x")).reason


@pytest.mark.parametrize(
    "line",
    [
        *("cron = 1 -1 -1 -1 -1 x", "mule = x.py", "spooler = /s", "attach-daemon = x", "smart-attach-daemon = p x"),
        *("http = :80", "https = :443,c,k", "fastrouter = /run/f", "subscribe-to = /run/f:x", "emperor = /v"),
        *("http-subscription-server = :1", "udp = :2", "legion-cron = l 1 -1 -1 -1 -1 x", "worker-exec = x"),
    ],
)
def test_what_must_run_runs_always(line: str) -> None:
    found = decide(config("socket = /run/a", line))
    assert waits(found) == (Way.ALWAYS, [])
    assert found.reason == f"{line} must run always"


def test_only_what_dies_idle_waits_unless_all_do() -> None:
    dies = config("socket = /run/a", "idle = 60", "die-on-idle = true")
    assert waits(decide(dies, OwnSocketsMode.IDLE)) == (Way.OWN, ["/run/a"])
    for lines in (["die-on-idle = true"], ["idle = 60"], ["idle = 60", "die-on-idle = false"]):
        given = config("socket = /run/a", *lines)
        assert decide(given, OwnSocketsMode.IDLE).reason == "its config has no die-on-idle"
        assert waits(decide(given)) == (Way.OWN, ["/run/a"])


def test_nothing_changes_without_the_setting() -> None:
    for lines in (["socket = /run/a", "die-on-idle = true", "idle = 6"], ["http = :80"], []):
        assert decide(config(*lines), OwnSocketsMode.NONE) == Waiting()


def test_a_vassal_without_sockets_runs_always() -> None:
    assert decide(config("stats = :1")).reason == "it has no sockets for requests"


def test_a_row_that_says_always_is_obeyed() -> None:
    vassal = make_vassal()
    rules = WaitingRules(as_is, None, ALL)
    of_row = type(vassal)(
        name=vassal.name, config=vassal.config, monitor=vassal.monitor, directory=vassal.directory, label=vassal.label,
        row=VassalRow(note="/n", address=""),
    )  # fmt: skip
    assert rules.decide(config("socket = /run/a"), of_row, RuleResult()) == Waiting()


def test_the_rule_comes_first() -> None:
    assert waits(decide(config(), rule="/run/a")) == (Way.FD_0, ["/run/a"])
    assert waits(decide(config("http-socket = :80"), rule="/run/a")) == (Way.BOTH, ["/run/a"])
    assert waits(decide(config("stats = :80"), rule="/run/a")) == (Way.FD_0, ["/run/a"])


@pytest.mark.parametrize("mode", list(OwnSocketsMode))
def test_a_rule_for_an_own_socket_is_served_on_all_of_them(mode: OwnSocketsMode) -> None:
    given = config("http-socket = :80", "socket = /run/a", "cron = 1 -1 -1 -1 -1 x")
    assert waits(decide(given, mode, rule="/run/a")) == (Way.OWN, ["0.0.0.0:80", "/run/a"])
    assert waits(decide(given, mode, rule="127.0.0.1:80")) == (Way.OWN, ["0.0.0.0:80", "/run/a"])


@pytest.mark.parametrize(
    ("lines", "said", "hint"),
    [
        (["socket = /run//a"], "socket = /run//a is not as the kernel writes it", "write socket = /run/a; or "),
        (["socket = /run/a", "socket = b"], "socket = b is a relative path", "write the whole path; or "),
        (["http = /run/a"], "http is not a socket that can be handed over", "give the rule another address; or "),
        (["socket = /run/a", "zerg = /z"], "zerg = /z makes uWSGI look for", "remove zerg; or "),
    ],
)
def test_a_conflict_that_cannot_be_served_names_the_line(lines: list[str], said: str, hint: str) -> None:
    found = decide(config(*lines), rule="/run/a")
    (problem,) = found.problems
    assert (problem.code, problem.path, problem.line) == ("socket-is-rules", "/v/app.ini", 2)
    assert said in problem.message
    assert problem.hint.startswith(hint)
    assert found.addresses == (UnixAddress("/run/a"),)


@pytest.mark.parametrize(
    ("line", "rule", "served"),
    [
        ("socket = :80", "127.0.0.1:80", True),
        ("socket = [::]:80", "127.0.0.1:80", True),
        ("socket = [::]:80", ":80", True),
        ("socket = 127.0.0.1:80", ":80", False),
        ("socket = :80", "[::]:80", False),
        ("socket = [::1]:80", "[::]:80", False),
    ],
)
def test_a_rule_for_more_than_the_config_binds(line: str, rule: str, served: bool) -> None:
    found = decide(config(line), rule=rule)
    assert found.way is Way.OWN
    if served:
        assert not found.problems
    else:
        assert "it is only a part of " in found.problems[0].message
        assert found.problems[0].hint.startswith("give the rule ")


def test_a_rule_that_names_the_own_path_by_a_link() -> None:
    def canonical(address: Address) -> Address:
        return parse_address(str(address).replace("/var/run", "/run"), base="/")

    result = RuleResult(address=parse_address("/var/run/a", base="/"))
    found = WaitingRules(canonical).decide(config("socket = /run/a"), make_vassal(), result)
    assert waits(found) == (Way.OWN, ["/run/a"])


def test_an_option_that_only_uwsgi_can_decide_about() -> None:
    given = config("socket = /run/a", unread=("socket = @(exec://x)",))
    assert "may be in force or not: only uWSGI can decide that" in decide(given).reason
    assert "may be in force or not: only uWSGI can decide that" in decide(given, rule="/run/a").problems[0].message


def test_a_tenants_own_sockets_where_he_may_not_listen() -> None:
    boundary = TenantBoundary(first_port=1024)
    found = decide(config("socket = :1025"), boundary=boundary)
    assert waits(found) == (Way.OWN, ["0.0.0.0:1025"])
    found = decide(config("socket = :1025", "socket = :80"), boundary=boundary)
    assert waits(found) == (Way.ALWAYS, [])
    assert "port 80 is below 1024" in found.reason
    found = decide(config("socket = :1025", "socket = :80"), rule=":1025", boundary=boundary)
    assert [problem.code for problem in found.problems] == ["socket-folder"]
