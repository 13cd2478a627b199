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
emperor-freq = 5
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
max-starting = 8
max-running = 100
tenant-socket-directory = /run/uwsgi
tenant-socket-groups = www-data
tenant-first-port = 80
on-demand-own-sockets = idle
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
        emperor_freq=5,
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
        max_starting=8,
        max_running=100,
        tenant_socket_directory=("/run/uwsgi",),
        tenant_socket_groups=("www-data",),
        tenant_first_port=80,
        on_demand_own_sockets="idle",
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
    ["emperor-stats", "emperor-broodlord", "heartbeat", "emperor-command-socket", "hook-as-vassal"],
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


def doubts(folder: Path, lines: str) -> tuple[Settings, list[tuple[str, int | None, str, str]]]:
    """Return the settings, and the code, line, message and hint of each warning about a value."""
    path = folder / "emperor.ini"
    path.write_text(f"[uwsgi]\n{lines}\n", "utf-8")
    found = read_emperor_ini(str(path))
    assert set(found.doubtful) <= {*found.notices} & {*found.brief_notices}
    assert {(d.path, d.severity) for d in found.doubtful} <= {(str(path), Severity.WARNING)}
    return merge([found.values]), [(d.code, d.line, d.message, d.hint) for d in found.doubtful]


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("500", 500),
        ("500 ; half a second", 500),
        ("500 # half a second", 500),
        ("  500  ", 500),
        ("\x0b500\t", 500),
        ("+500", 500),
        ("00000000000000500", 500),
        ("999999999", 999_999_999),
    ],
)
def test_numbers_that_uwsgi_takes(tmp_path: Path, given: str, taken: int) -> None:
    settings, warnings = doubts(tmp_path, f"emperor-throttle = {given}")
    assert (settings.emperor_throttle, warnings) == (taken, [])


@pytest.mark.parametrize(
    ("given", "taken", "why"),
    [
        ("0", 1000, "taken as 0"),
        ("", 1000, "taken as 0"),
        ("soon", 1000, "taken as 0"),
        ("0x1F4", 1000, "taken as 0"),
        ("-1", 1000, "negative"),
        ("-" + "9" * 5000, 1000, "negative"),
        ("1" * 10, 1000, "too large"),
        ("9" * 5000, 1000, "too large"),
        ("\u0665", 1000, "taken as 0"),
        ("500ms", 500, "taken as 500"),
        ("1e3", 1, "taken as 1"),
        ("2.5", 2, "taken as 2"),
    ],
)
def test_numbers_in_doubt(tmp_path: Path, given: str, taken: int, why: str) -> None:
    for name in ("emperor-throttle", "emperor-max-throttle"):
        settings, warnings = doubts(tmp_path, f"emperor = /a\n{name} = 700\n{name} = {given}")
        default = taken if taken != 1000 or name == "emperor-throttle" else 180_000
        assert getattr(settings, name.replace("-", "_")) == default
        assert settings.emperor == ("/a",)
        ((code, line, message, hint),) = warnings
        assert (code, line) == ("emperor-value", 4)
        assert why in message
        assert len(message) < 200
        assert f"write {name} = " in hint


def test_flags_in_doubt(tmp_path: Path) -> None:
    settings, warnings = doubts(tmp_path, "emperor-tyrant = false ; not yet\nemperor-nofollow = true # yes")
    assert settings.emperor_tyrant
    assert settings.emperor_nofollow
    ((code, line, message, hint),) = warnings
    assert (code, line, hint) == ("emperor-value", 2, "write emperor-tyrant = false")
    assert "turns it on, as in uWSGI" in message


def test_values_that_vassals_cannot_have(tmp_path: Path) -> None:
    settings, warnings = doubts(tmp_path, "env = A=1\nenv = ALONE\nenv = B=2\nemperor-cap = setuid, 7x ,setgid")
    assert settings.env == ("A=1", "B=2")
    assert settings.emperor_cap == "setuid,setgid"
    assert [(code, line) for code, line, _, _ in warnings] == [("emperor-value", 3), ("emperor-value", 5)]


def test_all_doubts_are_told_at_once(tmp_path: Path) -> None:
    lines = "emperor-throttle = 0\nemperor-max-throttle = -1\nemperor-tyrant = no!\nenv = X"
    _, warnings = doubts(tmp_path, lines)
    assert [line for _, line, _, _ in warnings] == [2, 3, 5]


def test_a_section_by_name(tmp_path: Path) -> None:
    path = tmp_path / "emperor.ini"
    path.write_text("[uwsgi]\nemperor = /plain\n[prod]\nemperor = /prod/%x\nini = :more\n[more]\nenv = A=1\n", "utf-8")
    for named, emperor in (("", "/plain"), (":prod", "/prod/prod"), (":uwsgi", "/plain"), (":", "/plain")):
        found = read_emperor_ini(f"{path}{named}")
        assert (found.path, found.values["emperor"]) == (str(path), (emperor,))
    assert read_emperor_ini(f"{path}:prod").values["env"] == ("A=1",)
    (doubt,) = read_emperor_ini(f"{path}:none").doubtful
    assert (doubt.code, doubt.line) == ("config-empty", 2)
    assert "[none]" in doubt.message
    # uWSGI cannot read such a file at all.
    (tmp_path / "a:b.ini").write_text("[uwsgi]\nemperor = /colon\n", "utf-8")
    assert read_emperor_ini(f"{tmp_path}/a:b.ini").values["emperor"] == ("/colon",)


def test_sections_of_other_formats(tmp_path: Path) -> None:
    texts = {
        "e.yaml": "uwsgi:\n  emperor: /plain\nprod:\n  emperor: /prod\n",
        "e.json": '{"uwsgi": {"emperor": "/plain"}, "prod": {"emperor": "/prod"}}',
        "e.xml": "<uwsgi><emperor id='dev'>/plain</emperor><emperor id='prod'>/prod</emperor></uwsgi>",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text, "utf-8")
        assert read_emperor_ini(f"{tmp_path}/{name}:prod").values["emperor"] == ("/prod",)


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
