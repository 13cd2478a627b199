"""Whether units start at boot is asked of systemctl, and told to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.diagnostics import BridgeError
from bridge.systemd.unit_files import UnitFiles

if TYPE_CHECKING:
    from pathlib import Path

SYSTEMCTL = """\
#!/bin/sh
echo "$@" >>"$0.calls"
case "$*" in
*is-enabled*on.service) echo enabled ;;
*is-enabled*sysv.service) echo "a script in /etc/init.d" >&2; echo enabled ;;
*is-enabled*static.service) echo static ;;
*is-enabled*) echo disabled; exit 1 ;;
*bad.service*) echo "no such unit" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl that notes its arguments in this file."""
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(SYSTEMCTL)
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path / "systemctl.calls"


@pytest.mark.parametrize(
    ("unit", "is_enabled"),
    [("on.service", True), ("sysv.service", True), ("static.service", False), ("off.service", False)],
)
def test_a_unit_that_systemctl_calls_enabled_starts_at_boot(calls: Path, unit: str, *, is_enabled: bool) -> None:
    assert UnitFiles(is_users=False).is_enabled(unit) is is_enabled
    assert calls.read_text() == f"is-enabled -- {unit}\n"


def test_all_units_are_told_at_once_and_none_is_no_call(calls: Path) -> None:
    UnitFiles(is_users=False).set_enabled([], is_enabled=True)
    assert not calls.exists()
    UnitFiles(is_users=False).set_enabled(["a.service", "a.socket"], is_enabled=False)
    UnitFiles(is_users=True).set_enabled(["a.service"], is_enabled=True)
    assert calls.read_text() == "disable -- a.service a.socket\n--user enable -- a.service\n"


def test_what_systemctl_refuses_is_told_with_its_reason(calls: Path) -> None:
    with pytest.raises(BridgeError, match=r"systemctl enable bad\.service .*no such unit.*by hand"):
        UnitFiles(is_users=False).set_enabled(["bad.service"], is_enabled=True)
    assert calls.exists()
