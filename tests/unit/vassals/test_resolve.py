from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.config.settings import Settings
from bridge.model.address import parse_address
from bridge.model.vassal import Owner, ResolvedVassal
from bridge.vassals.on_demand import RuleResult
from bridge.vassals.resolve import Resolution, ResolveContext, resolve
from bridge.vassals.spawn import SpawnDefaults
from tests.unit.build import as_is, make_vassal

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.diagnostics import Diagnostic

STAYS = ("--log-reopen", "--safe-fd", "3")
AS_RELOADED = "UWSGI_RELOADS=-1"


def decide(folder: Path, lines: str, settings: Settings | None = None) -> ResolvedVassal | Diagnostic:
    (folder / "app.ini").write_text(f"[uwsgi]\n{lines}\n", "utf-8")
    return decide_as_it_is(folder, settings=settings)


def decide_as_it_is(
    folder: Path, rule: RuleResult | None = None, settings: Settings | None = None
) -> ResolvedVassal | Diagnostic:
    vassal = make_vassal(folder=str(folder), owner=Owner(1000, 1000))
    defaults = SpawnDefaults(settings=settings or Settings(), program="/usr/bin/uwsgi")
    found = resolve(vassal, rule or RuleResult(), ResolveContext(defaults, as_is))
    return found.resolved if isinstance(found, Resolution) else found


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
    (tmp_path / "app.ini").write_text("[uwsgi]\nsocket = @(address)\n", "utf-8")
    address = parse_address("/run/app.sock", base="/")
    found = decide_as_it_is(tmp_path, RuleResult(address=address))
    assert not isinstance(found, ResolvedVassal)
    assert (found.code, found.line) == ("socket-is-rules", 2)
