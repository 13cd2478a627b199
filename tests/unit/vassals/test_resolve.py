from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.config.settings import OwnSocketsMode, Settings
from bridge.diagnostics import Severity
from bridge.host.links import link_targets
from bridge.model.address import parse_address, parse_uwsgi_socket
from bridge.model.vassal import Owner, ResolvedVassal
from bridge.vassals import own_sockets
from bridge.vassals.environment import Environments
from bridge.vassals.on_demand import RuleResult
from bridge.vassals.resolve import ResolveContext, resolve
from bridge.vassals.spawn import SpawnDefaults
from bridge.vassals.tenant import TenantBoundary
from bridge.vassals.waiting import WaitingRules
from tests.unit.build import as_is, make_vassal

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.diagnostics import Diagnostic
    from bridge.model.address import Address

STAYS = ("--log-reopen", "--safe-fd", "3")
AS_RELOADED = "UWSGI_RELOADS=-1"


def run_of(defaults: SpawnDefaults, mode: OwnSocketsMode = OwnSocketsMode.NONE) -> ResolveContext:
    return ResolveContext(defaults, Environments(None, user_manager=False), WaitingRules(as_is, mode=mode))


def decide(folder: Path, lines: str, settings: Settings | None = None) -> ResolvedVassal | Diagnostic:
    (folder / "app.ini").write_text(f"[uwsgi]\n{lines}\n", "utf-8")
    return decide_as_it_is(folder, settings=settings)


def decide_as_it_is(
    folder: Path, rule: RuleResult | None = None, settings: Settings | None = None
) -> ResolvedVassal | Diagnostic:
    vassal = make_vassal(folder=str(folder), owner=Owner(1000, 1000))
    defaults = SpawnDefaults(settings=settings or Settings(), program="/usr/bin/uwsgi")
    found = resolve(
        vassal,
        rule or RuleResult(),
        run_of(defaults),
    )
    return found.resolved or found.problems[0]


def resolved(folder: Path, lines: str, settings: Settings | None = None) -> ResolvedVassal:
    found = decide(folder, lines, settings)
    assert isinstance(found, ResolvedVassal), found
    return found


@pytest.mark.parametrize(
    "lines",
    ["daemonize = app.log", "daemonize2 = app.log", "if-hostname-match = ^web\ndaemonize = app.log\nend-if ="],
)
def test_a_daemon_stays_in_its_service(tmp_path: Path, lines: str) -> None:
    spawn = resolved(tmp_path, lines).spawn
    assert spawn.argv[-3:] == STAYS
    assert spawn.environment == (AS_RELOADED,)


@pytest.mark.parametrize("lines", ["logto = app.log", "if-env = NOWHERE\ndaemonize = app.log\nend-if ="])
def test_what_is_no_daemon_is_started_as_ever(tmp_path: Path, lines: str) -> None:
    spawn = resolved(tmp_path, lines).spawn
    assert spawn.argv[-1] == "app.ini"
    assert spawn.environment == ()


def test_the_log_of_a_daemon_that_drops_root_can_be_reopened(tmp_path: Path) -> None:
    lines = "daemonize = app.log\nuid = www-data"
    assert resolved(tmp_path, lines).spawn.argv[-1] == "--logfile-chown"
    tenant = Settings(emperor_tyrant=True)
    assert resolved(tmp_path, lines, tenant).spawn.argv[-3:] == STAYS


@pytest.mark.parametrize(
    ("lines", "line", "settings"),
    [
        ("if-not-reload =\nenv = FIRST=1\nend-if =", 4, Settings()),
        ("if-reload =\nenv = AGAIN=1\nend-if =", 4, Settings()),
        ("shared-socket = :80", 3, Settings()),
        ("zerg = /run/zerg", 3, Settings()),
        ("chroot = /srv", 3, Settings(emperor_tyrant=True)),
    ],
)
def test_what_only_a_first_start_does_is_refused(tmp_path: Path, lines: str, line: int, settings: Settings) -> None:
    found = decide(tmp_path, f"daemonize = app.log\n{lines}", settings)
    assert not isinstance(found, ResolvedVassal)
    assert (found.code, found.line) == ("daemonize-reload", line)
    assert "write logto = app.log" in found.hint
    assert isinstance(decide(tmp_path, f"logto = app.log\n{lines}", settings), ResolvedVassal)


def test_a_root_of_its_own_goes_with_a_daemon_of_roots(tmp_path: Path) -> None:
    assert resolved(tmp_path, "daemonize = app.log\nchroot = /srv").spawn.argv[-3:] == STAYS


def test_an_address_in_a_file_is_a_conflict_too(tmp_path: Path) -> None:
    (tmp_path / "address").write_text("/run/app.sock\n", "utf-8")
    (tmp_path / "app.ini").write_text("[uwsgi]\nhttp = @(address)\n", "utf-8")
    address = parse_address("/run/app.sock", base="/")
    found = decide_as_it_is(tmp_path, RuleResult(address=address))
    assert not isinstance(found, ResolvedVassal)
    assert (found.code, found.line) == ("socket-is-rules", 2)


# The files that a vassal depends on.


def sources(folder: Path, rule: RuleResult | None = None) -> list[str]:
    found = decide_as_it_is(folder, rule)
    assert isinstance(found, ResolvedVassal), found
    assert len(found.sources) == len(set(found.sources))
    assert all(path.startswith("/") for path in found.sources)
    return [path.removeprefix(f"{folder}/") for path in found.sources]


def test_a_config_depends_on_itself_and_on_what_it_includes_and_asks_about(tmp_path: Path) -> None:
    (tmp_path / "more.ini").write_text("[uwsgi]\nmaster = true\n", "utf-8")
    lines = "include = more.ini\nif-exists = app.ini.down\nlisten = 7\nendif =\nsocket-timeout = 3\n"
    (tmp_path / "app.ini").write_text(f"[uwsgi]\n{lines}", "utf-8")
    assert set(sources(tmp_path)) == {"app.ini", "more.ini", "app.ini.down"}


def test_a_config_that_is_a_link_depends_on_each_step_of_it(tmp_path: Path) -> None:
    (tmp_path / "app.skel").write_text("[uwsgi]\nmaster = true\n", "utf-8")
    (tmp_path / "one").symlink_to("app.skel")
    (tmp_path / "app.ini").symlink_to(tmp_path / "one")
    assert sources(tmp_path) == ["app.ini", "one", "app.skel"]


def test_a_link_to_another_folder_is_followed(tmp_path: Path) -> None:
    vassals, templates = tmp_path / "vassals", tmp_path / "templates"
    for folder in (vassals, templates):
        folder.mkdir()
    (templates / "app.skel").write_text("[uwsgi]\nmaster = true\n", "utf-8")
    (vassals / "app.ini").symlink_to("../templates/app.skel")
    assert sources(vassals) == ["app.ini", f"{templates}/app.skel"]


def test_a_rules_sources_are_the_vassals_too(tmp_path: Path) -> None:
    (tmp_path / "app.ini").write_text("[uwsgi]\nmaster = true\n", "utf-8")
    rule = RuleResult(sources=(f"{tmp_path}/app.ini.socket", f"{tmp_path}/addr"))
    assert sources(tmp_path, rule) == ["app.ini", "app.ini.socket", "addr"]


def test_an_included_file_that_is_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "v2.ini").write_text("[uwsgi]\nmaster = true\n", "utf-8")
    (tmp_path / "common.ini").symlink_to("v2.ini")
    (tmp_path / "flag.ini").symlink_to("flag.real")
    lines = "include = common.ini\nif-exists = flag.ini\nlisten = 7\nendif =\n"
    (tmp_path / "app.ini").write_text(f"[uwsgi]\n{lines}", "utf-8")
    assert set(sources(tmp_path)) == {"app.ini", "common.ini", "v2.ini", "flag.ini", "flag.real"}


@pytest.mark.parametrize("name", ["app.ini", "flag"])
def test_a_link_to_itself_ends(tmp_path: Path, name: str) -> None:
    (tmp_path / "app.ini").write_text("[uwsgi]\nif-exists = flag\nlisten = 7\nendif =\n", "utf-8")
    if name == "flag":
        (tmp_path / name).symlink_to(name)
        assert set(sources(tmp_path)) == {"app.ini", "flag"}
    else:
        assert link_targets(str(tmp_path / name)) == ()


@pytest.mark.parametrize("option", ["socket = run/a.sock", "socket = :9", "http = ./run/../run/a.sock"])
def test_hostile_numbers_of_sockets_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    parsed: list[str] = []

    def parse(text: str, *, base: str) -> Address | None:
        parsed.append(text)
        return parse_uwsgi_socket(text, base=base)

    monkeypatch.setattr(own_sockets, "parse_uwsgi_socket", parse)
    lines = [f"chdir = c{number}" for number in range(4000)]
    lines += [f"socket = s{number}" for number in range(4000)]
    (tmp_path / "app.ini").write_text("[uwsgi]\n" + "\n".join([option, *lines]) + "\n", "utf-8")
    found = decide_as_it_is(tmp_path, RuleResult(address=parse_address(f"{tmp_path}/run/a.sock", base="/")))
    assert not isinstance(found, ResolvedVassal)
    is_first = option != "socket = :9"
    assert found.code == ("socket-is-rules" if is_first else "config-unreadable")
    assert len(parsed) == (10_001 if not is_first else 2)


def test_a_relative_socket_in_any_of_its_folders(tmp_path: Path) -> None:
    (tmp_path / "app.ini").write_text("[uwsgi]\nchdir = /srv/app\nsocket = a.sock\nchdir2 = /srv/b\n", "utf-8")
    for folder in (str(tmp_path), "/srv/app", "/srv/b"):
        found = decide_as_it_is(tmp_path, RuleResult(address=parse_address(f"{folder}/a.sock", base="/")))
        assert not isinstance(found, ResolvedVassal)
        assert (found.code, found.line) == ("socket-is-rules", 3)
    other = decide_as_it_is(tmp_path, RuleResult(address=parse_address("/srv/a.sock", base="/")))
    assert isinstance(other, ResolvedVassal)


def test_a_config_without_options_is_served_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "app.ini").write_text("[uWSGI]\nsocket = :1\n", "utf-8")
    vassal = make_vassal(folder=str(tmp_path))
    defaults = SpawnDefaults(settings=Settings(), program="/usr/bin/uwsgi")
    found = resolve(vassal, RuleResult(), run_of(defaults))
    assert found.resolved is not None
    (warning,) = found.warnings
    assert (warning.code, warning.severity) == ("config-empty", Severity.WARNING)
    assert (warning.path, warning.line, warning.key) == (f"{tmp_path}/app.ini", 1, vassal.key)


@pytest.mark.parametrize(
    ("lines", "reason", "hint"),
    [
        (
            "if-not-env = UWSGI_EMPEROR_FD\nsocket = /run//a.sock\nend-if =",
            " (if-not-env = UWSGI_EMPEROR_FD in line 2 of {}/app.ini holds here)",
            "or remove this line and the condition, as there is no Emperor:",
        ),
        (
            "if-not-env = UWSGI_EMPEROR_FD\ninclude = more.ini\nend-if =",
            " (if-not-env = UWSGI_EMPEROR_FD in line 2 of {}/app.ini holds here)",
            "or remove this line and the condition, as there is no Emperor:",
        ),
        (
            "if-file = /etc/passwd\nsocket = /run/%(_)/../../../run/a.sock\nend-if =",
            " (if-file = /etc/passwd in line 2 of {}/app.ini holds here)",
            "or remove this line:",
        ),
        ("for = a\nsocket = /run//%(_).sock\nend-for =", "", "or remove this line:"),
        ("if-env = PATH\nmaster = 1\nend-if =\nsocket = /run//a.sock", "", "or remove this line:"),
    ],
)
def test_the_condition_of_a_socket_is_named(tmp_path: Path, lines: str, reason: str, hint: str) -> None:
    (tmp_path / "more.ini").write_text("[uwsgi]\nsocket = /run//a.sock\n", "utf-8")
    (tmp_path / "app.ini").write_text(f"[uwsgi]\n{lines}\n", "utf-8")
    found = decide_as_it_is(tmp_path, RuleResult(address=parse_address("/run/a.sock", base="/")))
    assert not isinstance(found, ResolvedVassal)
    assert found.code == "socket-is-rules"
    assert found.message.endswith(f"is not as the kernel writes it: /run/a.sock{reason.format(tmp_path)}")
    assert found.hint.startswith("write socket = /run/a.sock; ")
    assert hint in found.hint


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    lines = "chmod-socket = 9\nchown-socket = nobody-at-all\nsocket = /run/a.sock\ndaemonize = /x\nzerg = /z\n"
    (tmp_path / "app.ini").write_text(f"[uwsgi]\n{lines}", "utf-8")
    vassal = make_vassal(folder=str(tmp_path), owner=Owner(1000, 0))
    defaults = SpawnDefaults(settings=Settings(emperor_tyrant=True), program="/usr/bin/uwsgi")
    context = run_of(defaults)
    found = resolve(vassal, RuleResult(address=parse_address("/run/a.sock", base="/")), context)
    assert [problem.code for problem in found.problems] == [
        "tyrant-root", "daemonize-reload", "socket-is-rules", "socket-access", "socket-access",
    ]  # fmt: skip
    assert found.resolved is None
    assert found.draft is not None
    assert found.config is not None


def test_no_file_of_roots_is_read_to_find_more(tmp_path: Path) -> None:
    """In tyrant mode a tenant may have made a link to it."""
    (tmp_path / "app.ini").write_text("root:secret\n[", "utf-8")
    vassal = make_vassal(folder=str(tmp_path), owner=Owner(0, 0))
    defaults = SpawnDefaults(settings=Settings(emperor_tyrant=True), program="/usr/bin/uwsgi")
    found = resolve(vassal, RuleResult(), run_of(defaults))
    assert [problem.code for problem in found.problems] == ["tyrant-root"]
    assert (found.config, found.draft) == (None, None)


def test_a_tenants_own_socket_that_he_may_not_give_away_is_his_to_bind(tmp_path: Path) -> None:
    (tmp_path / "app.ini").write_text("[uwsgi]\nsocket = @a\nchown-socket = daemon:root\n", "utf-8")
    vassal = make_vassal(folder=str(tmp_path), owner=Owner(1, 1))
    defaults = SpawnDefaults(settings=Settings(emperor_tyrant=True), program="/usr/bin/uwsgi")
    waiting = WaitingRules(as_is, TenantBoundary(), OwnSocketsMode.ALL)
    context = ResolveContext(defaults, Environments(None, user_manager=False), waiting)
    found = resolve(vassal, RuleResult(), context)
    assert found.resolved is not None
    assert found.resolved.addresses == ()
    assert "not one of the tenant's" in found.resolved.why_always
    assert AS_RELOADED not in found.resolved.spawn.environment
    asked = resolve(vassal, RuleResult(address=parse_address("@a", base="/")), context)
    assert [problem.code for problem in asked.problems] == ["socket-access"]
