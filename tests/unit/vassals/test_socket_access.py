from __future__ import annotations

import grp
import os
import pwd
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from bridge.diagnostics import Diagnostic
from bridge.model.address import parse_address
from bridge.model.vassal import SocketAccess, SpawnSpec
from bridge.uwsgi.options import Config, Option
from bridge.vassals.socket_access import find_access
from tests.unit.build import make_vassal
from tests.unit.root import needs_root

if TYPE_CHECKING:
    from pathlib import Path

UNIX = "/run/a.sock"
ROOT = SpawnSpec(argv=("uwsgi",))
WWW = SpawnSpec(argv=("uwsgi",), user="www-data", group="www-data")
TENANT = SpawnSpec(argv=("uwsgi",), user="1000", group="1000", tenant=1000)
FORMS = ["www-data:", ":www-data", "33:33", "www-data:33", ":", "", "4999:4998", "www-data", "root:www-data"]
"""Owners that uWSGI takes, however they look."""
WRONG = ["www-data : www-data", "www-data:www-data:x", "-1:0", "no-such", "www-data:no-such", " ", "\u0663\u0663"]
"""Owners at which uWSGI ends."""


def access(value: str, spawn: SpawnSpec = ROOT, address: str = UNIX) -> SocketAccess | Diagnostic:
    config = Config("v.ini", (Option("chown-socket", value, "v.ini", 7),))
    found, problems = find_access(config, make_vassal(), spawn, [parse_address(address, base="/")])
    return problems[0] if problems else found


def owner(value: str, spawn: SpawnSpec = ROOT, address: str = UNIX) -> tuple[str, str]:
    found = access(value, spawn, address)
    assert isinstance(found, SocketAccess), found
    return found.user, found.group


def refusal(value: str, spawn: SpawnSpec = ROOT) -> Diagnostic:
    found = access(value, spawn)
    assert isinstance(found, Diagnostic)
    assert (found.code, found.path, found.line) == ("socket-access", "v.ini", 7)
    assert found.hint
    return found


def ids(value: str) -> tuple[int, int]:
    """Return the numbers that a unit's SocketUser= and SocketGroup= stand for; without the latter, the user's own."""
    user, group = owner(value)
    uid = 0 if not user else int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid
    if group:
        return uid, int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    return uid, -1


@needs_root
@pytest.mark.parametrize("value", FORMS)
def test_as_uwsgi_does(tmp_path: Path, value: str) -> None:
    path = tmp_path / "s"
    argv = ["uwsgi", "--master", "--socket", str(path), "--chown-socket", value, "--logto", str(tmp_path / "log")]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while "spawned uWSGI" not in ((tmp_path / "log").read_text() if (tmp_path / "log").exists() else ""):
                assert process.poll() is None, (tmp_path / "log").read_text()
                os.sched_yield()
            seen = (path.stat().st_uid, path.stat().st_gid)
        finally:
            process.kill()
    uid, gid = ids(value)
    assert uid == seen[0]
    # With a user alone, systemd gives the socket to that user's group; uWSGI leaves it to root's.
    assert gid == seen[1] or (gid == -1 and ":" not in value)


@pytest.mark.parametrize("value", WRONG)
def test_what_uwsgi_ends_at_is_refused(tmp_path: Path, value: str) -> None:
    argv = ["uwsgi", "--socket", str(tmp_path / "s"), "--chown-socket", value]
    ended = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20, check=False)
    assert b"unable to find" in ended.stdout
    refusal(value)


def test_numbers_that_no_user_has() -> None:
    for value in ("4294967295:0", "0:65535", "99999999999:0", "9" * 5000):
        assert "that no" in refusal(value).message


def test_blanks_are_pointed_out() -> None:
    assert "write www-data:www-data, without blanks" in refusal("www-data : www-data").hint
    assert refusal("no-such").hint == "make it, or name another"


def test_names_of_a_directory_service(monkeypatch: pytest.MonkeyPatch) -> None:
    def getpwnam(name: str) -> Any:
        if name != "ann@example.org":
            raise KeyError(name)
        return SimpleNamespace(pw_uid=70001)

    def getgrnam(name: str) -> Any:
        if name not in {"domain users", "EXAMPLE\\web"}:
            raise KeyError(name)
        return SimpleNamespace(gr_gid=70002)

    monkeypatch.setattr(pwd, "getpwnam", getpwnam)
    monkeypatch.setattr(grp, "getgrnam", getgrnam)
    # systemd may not take such a name, but it takes each number.
    assert owner("ann@example.org:domain users") == ("70001", "70002")
    assert owner("ann@example.org:EXAMPLE\\web") == ("70001", "70002")
    assert owner("ann@example.org") == ("70001", "")
    assert "names user 'ann', which is not there" in refusal("ann:domain users").message
    assert "names user 'ann ', which is not there" in refusal("ann :domain users").message


def test_what_a_process_without_rights_may_give() -> None:
    assert owner("www-data:www-data", WWW) == ("www-data", "www-data")
    assert owner("33:daemon", WWW) == ("33", "daemon")
    for value in ("root:www-data", ":www-data", "", "daemon"):
        found = refusal(value, WWW)
        assert "uWSGI, which runs as www-data, may not" in found.message
        assert found.hint.startswith("write www-data:")
    # Only a file has an owner.
    assert owner("root:www-data", WWW, "127.0.0.1:80") == ("root", "www-data")


def test_what_a_tenant_may_give_is_judged_elsewhere() -> None:
    assert owner(":www-data", TENANT) == ("root", "www-data")
    assert owner("1000:www-data", TENANT) == ("1000", "www-data")
    assert owner("1000", TENANT) == ("1000", "1000")


def bound(*lines: str, spawn: SpawnSpec = ROOT) -> tuple[str, str, str]:
    """Return the mode and the owners of a socket that systemd binds instead of uWSGI."""
    pairs = (line.split(" = ") for line in lines)
    config = Config("v.ini", tuple(Option(key, value, "v.ini", 1) for key, value in pairs))
    found, _ = find_access(config, make_vassal(), spawn, [parse_address(UNIX, base="/")], is_own=True)
    return found.mode, found.user, found.group


def test_who_uwsgi_is_when_it_binds() -> None:
    assert bound() == ("0755", "", "")
    assert bound("uid = www-data", "gid = www-data") == ("0755", "www-data", "www-data")
    assert bound("uid = 33", "umask = 007") == ("0770", "33", "root")
    assert bound("gid = www-data") == ("0755", "", "www-data")
    assert bound("uid = 33", "chmod-socket = 660") == ("0660", "33", "root")
    assert bound("immediate-uid = www-data", "immediate-gid = www-data") == ("0755", "www-data", "www-data")
    for late in ("master-as-root = true", "drop-after-init = true", "drop-after-apps = true"):
        assert bound("uid = 33", late) == ("0755", "", "")
        assert bound("immediate-uid = 33", late) == ("0755", "33", "root")
    assert bound("uid = 33", "chown-socket = daemon") == ("0755", "daemon", "root")
    assert bound("uid = 33", spawn=TENANT) == ("0755", "1000", "1000")
