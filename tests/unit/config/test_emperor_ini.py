from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.config.emperor_ini import read_emperor_ini
from bridge.config.settings import SETTINGS, Settings, merge
from bridge.diagnostics import BridgeError, Severity

if TYPE_CHECKING:
    from pathlib import Path

DEBIAN = """\
[uwsgi]
autoload = true
master = true
workers = 2
no-orphans = true
log-date = true
uid = www-data
gid = www-data
emperor = /etc/uwsgi-emperor/vassals
"""
FEDORA = """\
[uwsgi]
uid = uwsgi
gid = uwsgi
pidfile = /run/uwsgi/uwsgi.pid
emperor = /etc/uwsgi.d
stats = /run/uwsgi/stats.sock
chmod-socket = 660
emperor-tyrant = true
cap = setgid,setuid
"""
FULL = """\
[uwsgi]
emperor = /a
emperor = glob:///b/*.ini
emperor-on-demand-dir = /run
emperor-throttle = 500
emperor-max-throttle = 60000
emperor-extra-extension = .conf
emperor-extra-ext = .vassal
emperor-nofollow =
emperor-tyrant = true
emperor-tyrant-nofollow = 1
emperor-tyrant-initgroups = false
uid = 33
gid = 34
vassals-cap = setuid
vassals-inherit-before = ib.ini
vassals-include-before = cb.ini
vassal-set = a=1
vassals-set = b=2
vassals-inherit = i.ini
vassals-include = c.ini
emperor-wrapper = /w
vassals-start-hook = /start
vassals-stop-hook = /stop
env = UWSGI_VASSAL_THREADS=2
chdir = /srv
tenant-socket-directory = /run/uwsgi
tenant-socket-groups = www-data
tenant-first-port = 80
binary-path = /u
"""


def read(folder: Path, text: str) -> tuple[Settings, dict[str, str]]:
    """Return the settings an emperor.ini comes to, and the options without effect, each with what replaces it."""
    path = folder / "emperor.ini"
    path.write_text(text, "utf-8")
    found = read_emperor_ini(str(path))
    assert {notice.severity for notice in found.notices} <= {Severity.WARNING}
    assert {notice.code for notice in found.notices} <= {"emperor-option"}
    assert all(notice.path == str(path) and notice.line for notice in found.notices)
    return merge([found.values]), {notice.message.split()[0]: notice.hint for notice in found.notices}


def test_every_setting(tmp_path: Path) -> None:
    settings, without_effect = read(tmp_path, FULL)
    assert without_effect == {}
    assert settings == Settings(
        emperor=("/a", "glob:///b/*.ini"),
        emperor_on_demand_directory="/run",
        emperor_throttle=500,
        emperor_max_throttle=60_000,
        emperor_extra_extension=(".conf", ".vassal"),
        emperor_nofollow=True,
        emperor_tyrant=True,
        emperor_tyrant_nofollow=True,
        uid="33",
        gid="34",
        emperor_cap="setuid",
        vassals_inherit_before=("ib.ini",),
        vassals_include_before=("cb.ini",),
        vassals_set=("a=1", "b=2"),
        vassals_inherit=("i.ini",),
        vassals_include=("c.ini",),
        emperor_wrapper="/w",
        vassals_start_hook="/start",
        vassals_stop_hook="/stop",
        env=("UWSGI_VASSAL_THREADS=2",),
        chdir="/srv",
        tenant_socket_directory=("/run/uwsgi",),
        tenant_socket_groups=("www-data",),
        tenant_first_port=80,
        binary_path="/u",
    )
    named = {key for line in FULL.splitlines() for key in [line.partition(" =")[0]]}
    left_out = {s.name for s in SETTINGS if not named & {s.name, *s.aliases}}
    assert left_out == {"emperor-on-demand-extension", "emperor-on-demand-exec"}


def test_debians(tmp_path: Path) -> None:
    settings, without_effect = read(tmp_path, DEBIAN)
    assert settings == Settings(emperor=("/etc/uwsgi-emperor/vassals",), uid="www-data", gid="www-data")
    assert list(without_effect) == ["autoload", "master", "workers", "no-orphans", "log-date"]
    assert "the journal" in without_effect["log-date"]


def test_fedoras(tmp_path: Path) -> None:
    settings, without_effect = read(tmp_path, FEDORA)
    assert settings.emperor_tyrant
    assert list(without_effect) == ["pidfile", "stats", "chmod-socket", "cap"]
    assert "emperor-bridge status --json" in without_effect["stats"]


@pytest.mark.parametrize(
    "option",
    ["emperor-freq", "emperor-stats", "emperor-broodlord", "heartbeat", "emperor-command-socket", "hook-as-vassal"],
)
def test_what_has_no_meaning_here_is_named_with_what_replaces_it(tmp_path: Path, option: str) -> None:
    _, without_effect = read(tmp_path, f"[uwsgi]\nemperor = /a\n{option} = 1\n")
    assert list(without_effect) == [option]
    assert "it was for the Emperor's own process" not in without_effect[option]


def test_an_option_is_listed_once(tmp_path: Path) -> None:
    _, without_effect = read(tmp_path, "[uwsgi]\nemperor = /a\nhook-asap = a\nhook-asap = b\nno-such = 1\n")
    assert list(without_effect) == ["hook-asap", "no-such"]
    assert "vassals-start-hook" in without_effect["hook-asap"]


def test_what_cannot_be_judged_is_said(tmp_path: Path) -> None:
    text = "[uwsgi]\nif-hostname-match = ^web\nemperor = /web\nendif =\nemperor = /a\n"
    settings, without_effect = read(tmp_path, text)
    assert settings.emperor == ("/a",)
    assert set(without_effect) == {"if-hostname-match", "emperor"}


@pytest.mark.parametrize("given", ["0", "-1", "soon", "1" * 10, ""])
def test_a_number_that_is_none(tmp_path: Path, given: str) -> None:
    with pytest.raises(BridgeError, match="whole number from 1") as caught:
        read(tmp_path, f"[uwsgi]\nemperor-throttle = {given}\n")
    assert caught.value.diagnostic.line == 2


def test_one_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BridgeError) as caught:
        read_emperor_ini(str(tmp_path / "none.ini"))
    assert caught.value.diagnostic.code == "emperor-ini"
    assert caught.value.diagnostic.path == str(tmp_path / "none.ini")


def test_the_brief_form_counts_what_never_has_an_effect(tmp_path: Path) -> None:
    path = tmp_path / "emperor.ini"
    path.write_text(DEBIAN + "if-hostname-match = ^web\nemperor = /web\nendif =\n", "utf-8")
    found = read_emperor_ini(str(path))
    assert len(found.notices) == 7
    brief = [str(notice) for notice in found.brief_notices]
    assert brief[0] == (
        f"{path}: warning: 5 options have no effect here (emperor-bridge check lists them) [emperor-option]"
    )
    # A setting that may be missing is worth a line of its own.
    assert [notice.message.split()[0] for notice in found.brief_notices[1:]] == ["if-hostname-match", "emperor"]


def test_the_brief_form_of_one_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "emperor.ini"
    path.write_text("[uwsgi]\nemperor = /a\nmaster = true\n", "utf-8")
    found = read_emperor_ini(str(path))
    assert found.brief_notices == found.notices
    assert "master has no effect here" in str(found.notices[0])


def test_the_brief_form_counts_each_file(tmp_path: Path) -> None:
    path, more = tmp_path / "emperor.ini", tmp_path / "more.ini"
    path.write_text(f"[uwsgi]\nemperor = /a\nmaster = true\nworkers = 2\nini = {more}\n", "utf-8")
    more.write_text("[uwsgi]\nautoload = true\nlog-date = true\n", "utf-8")
    brief = read_emperor_ini(str(path)).brief_notices
    assert {(notice.path, notice.message.split()[0]) for notice in brief} >= {(str(more), "2")}
    assert len(brief) == 2
