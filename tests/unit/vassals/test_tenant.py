"""What a tenant may decide: where he listens, whom he lets in, whose rule file and symlink count."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.config.settings import Settings
from bridge.host.files import ForeignFileError
from bridge.model.address import parse_address
from bridge.model.vassal import Owner, SocketAccess
from bridge.vassals.tenant import TenantBoundary, make_boundary, read_rule, start_check
from tests.unit.root import needs_root

if TYPE_CHECKING:
    from collections.abc import Iterator

TENANT = Owner(4001, 4001)
NEIGHBOUR = 4002


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/var/lib") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def refused(boundary: TenantBoundary, address: str, *, is_admins: bool = False) -> str:
    refusal = boundary.judge_address(parse_address(address, base="/"), TENANT, is_admins=is_admins)
    return f"{refusal.message} ({refusal.hint})" if refusal else ""


@pytest.mark.parametrize(
    "address",
    ["/run/vassals/4001/app.sock", "/run/vassals/4001/deep/er/app.sock", "@app", "127.0.0.1:8080", "[::1]:1024"],
)
def test_where_a_tenant_may_listen(address: str) -> None:
    assert refused(TenantBoundary(), address) == ""


@pytest.mark.parametrize(
    "address",
    [
        "/run/vassals/app.sock",
        "/run/vassals/4002/app.sock",
        "/run/vassals/40011/app.sock",
        "/run/systemd/system/vassals.target",
        "/etc/systemd/system/vassal-v.service",
        "/run/docker.sock",
        "/run/user/4001/z/app.sock",
        "/proc/1/cwd/x",
        "/tmp/x/d/name",
        "/srv/app.sock",
        "/app.sock",
    ],
)
def test_where_he_may_not(address: str) -> None:
    assert "tenants may not listen there" in refused(TenantBoundary(), address)
    assert f'tenant-socket-directory = "{os.path.dirname(address)}"' in refused(TenantBoundary(), address)


@pytest.mark.parametrize(("port", "first", "is_refused"), [(80, 1024, True), (1024, 1024, False), (80, 80, False)])
def test_ports(port: int, first: int, is_refused: bool) -> None:
    assert bool(refused(TenantBoundary(first_port=first), f":{port}")) is is_refused
    if is_refused:
        assert f"tenant-first-port = {port}" in refused(TenantBoundary(first_port=first), f":{port}")


@needs_root
def test_a_folder_that_the_admin_names(folder: Path) -> None:
    boundary = TenantBoundary(directories=(str(folder),))
    assert refused(boundary, f"{folder}/app.sock") == ""
    assert refused(boundary, f"{folder}/new/app.sock") == ""
    assert refused(boundary, f"{folder}x/app.sock") != ""
    (folder / "his").mkdir()
    os.chown(folder / "his", TENANT.uid, TENANT.gid)
    assert f"belongs to uid {TENANT.uid}" in refused(boundary, f"{folder}/his/app.sock")
    (folder / "link").symlink_to("/etc")
    assert "tenants may not listen there" in refused(boundary, f"{folder}/link/app.sock")


@needs_root
def test_a_named_folder_may_be_a_services_but_no_persons(folder: Path) -> None:
    boundary = TenantBoundary(directories=(str(folder),))
    os.chown(folder, 33, 33)
    folder.chmod(0o775)
    assert refused(boundary, f"{folder}/app.sock") == ""
    os.chown(folder, NEIGHBOUR, NEIGHBOUR)
    assert f"belongs to uid {NEIGHBOUR}" in refused(TenantBoundary(directories=(str(folder),)), f"{folder}/app.sock")


@needs_root
def test_the_admins_own_directory_rule(folder: Path) -> None:
    assert refused(TenantBoundary(), f"{folder}/app.socket", is_admins=True) == ""
    assert refused(TenantBoundary(), "/tmp/app.socket", is_admins=True) == ""
    os.chown(folder, NEIGHBOUR, NEIGHBOUR)
    assert refused(TenantBoundary(), f"{folder}/app.socket", is_admins=True) != ""


@pytest.mark.parametrize(
    ("access", "is_refused"),
    [
        (SocketAccess(), False),
        (SocketAccess(user="4001", group="4001"), False),
        (SocketAccess(user="0"), True),
        (SocketAccess(user="root"), True),
        (SocketAccess(user="4002"), True),
        (SocketAccess(group="0"), True),
        (SocketAccess(group="www-data"), True),
    ],
)
def test_whom_he_may_let_in(access: SocketAccess, is_refused: bool) -> None:
    assert bool(TenantBoundary().judge_access(access, TENANT)) is is_refused


def test_groups_that_the_admin_names() -> None:
    boundary = make_boundary(Settings(emperor_tyrant=True, tenant_socket_groups=("www-data", "no-such-group")))
    assert boundary is not None
    assert boundary.judge_access(SocketAccess(group="www-data"), TENANT) is None
    assert boundary.judge_access(SocketAccess(group="root"), TENANT) is not None


def test_without_tenants_there_is_no_boundary() -> None:
    assert make_boundary(Settings()) is None


def whose_rule(path: Path) -> str:
    """Return whose word a rule file is, if it does not count for the tenant."""
    try:
        read_rule(str(path), TENANT, max_bytes=100)
    except ForeignFileError as error:
        return f"uid {error.owner}"
    except OSError:
        return "nobody"
    return ""


@needs_root
def test_whose_rule_file_counts(folder: Path) -> None:
    rule = folder / "app.ini.socket"
    assert whose_rule(rule) == "nobody"
    rule.write_text("@app")
    for uid, whose in ((0, ""), (TENANT.uid, ""), (NEIGHBOUR, f"uid {NEIGHBOUR}")):
        os.chown(rule, uid, uid)
        assert whose_rule(rule) == whose
    os.chown(rule, 0, 0)
    link = folder / "link.ini.socket"
    link.symlink_to(rule)
    assert whose_rule(link) == ""
    os.chown(link, NEIGHBOUR, NEIGHBOUR, follow_symlinks=False)
    assert whose_rule(link) == f"uid {NEIGHBOUR}"
    assert read_rule(str(rule), None, max_bytes=100) == b"@app"


@needs_root
@pytest.mark.parametrize("target", ["app.ini.socket", "/dev/zero", "/etc/passwd/x", "/proc/self/mem", "/"])
def test_a_neighbours_symlink_counts_for_nothing_wherever_it_leads(folder: Path, target: str) -> None:
    rule = folder / "app.ini.socket"
    rule.symlink_to(target)
    os.chown(rule, NEIGHBOUR, NEIGHBOUR, follow_symlinks=False)
    assert whose_rule(rule) == f"uid {NEIGHBOUR}"
    os.chown(rule, TENANT.uid, TENANT.gid, follow_symlinks=False)
    assert whose_rule(rule) == "nobody"


@needs_root
@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_a_neighbours_pipe_or_folder_counts_for_nothing(folder: Path, kind: str) -> None:
    rule = folder / "app.ini.socket"
    os.mkfifo(rule) if kind == "pipe" else rule.mkdir()
    os.chown(rule, NEIGHBOUR, NEIGHBOUR)
    assert whose_rule(rule) == f"uid {NEIGHBOUR}"


@needs_root
@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_neighbours_rule_that_is_gone_once_it_was_opened_does_not_count(
    folder: Path, monkeypatch: pytest.MonkeyPatch, is_replaced: bool
) -> None:
    rule = folder / "app.ini.socket"
    opens = os.open

    def swapped(path: str, flags: int, mode: int = 0o777) -> int:
        descriptor = opens(path, flags, mode)
        monkeypatch.setattr(os, "open", opens)
        rule.unlink()
        if is_replaced:
            rule.touch()
            os.chown(rule, TENANT.uid, TENANT.gid)
        return descriptor

    rule.write_text("@neighbour")
    os.chown(rule, NEIGHBOUR, NEIGHBOUR)
    monkeypatch.setattr(os, "open", swapped)
    assert whose_rule(rule) == (f"uid {NEIGHBOUR}" if is_replaced else "nobody")


def start(config: Path, *, nofollow: bool = False) -> tuple[int, str]:
    command = (*start_check(str(config), nofollow=nofollow), "/bin/echo", "a b", "$HOME")
    as_tenant = ("setpriv", "--reuid", str(TENANT.uid), "--regid", str(TENANT.gid), "--clear-groups", "--", *command)
    done = subprocess.run(as_tenant, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@needs_root
@pytest.mark.parametrize("name", ["app.ini", "-x.ini", "a b$(touch x)'\".ini"])
def test_a_service_starts_only_its_users_config(folder: Path, name: str) -> None:
    config = folder / name
    assert start(config)[0] == 26
    config.touch()
    os.chown(config, TENANT.uid, TENANT.gid)
    assert start(config) == start(config, nofollow=True) == (0, "a b $HOME\n")
    os.chown(config, NEIGHBOUR, NEIGHBOUR)
    status, text = start(config)
    assert status == 26
    assert f"does not belong to uid {TENANT.uid}" in text


@needs_root
@pytest.mark.parametrize(("owner", "status"), [(0, 0), (TENANT.uid, 0), (NEIGHBOUR, 26)])
def test_a_service_does_not_start_its_users_file_by_a_neighbours_symlink(folder: Path, owner: int, status: int) -> None:
    (folder / "private.ini").touch()
    os.chown(folder / "private.ini", TENANT.uid, TENANT.gid)
    link = folder / "app.ini"
    link.symlink_to("private.ini")
    os.chown(link, owner, owner, follow_symlinks=False)
    assert start(link)[0] == status


@needs_root
def test_with_nofollow_the_symlinks_owner_counts(folder: Path) -> None:
    (folder / "target").touch()
    link = folder / "app.ini"
    link.symlink_to("target")
    os.chown(link, TENANT.uid, TENANT.gid, follow_symlinks=False)
    assert start(link)[0] == 26
    assert start(link, nofollow=True)[0] == 0
