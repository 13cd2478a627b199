"""Which differences between a unit file and its new text have the unit stopped."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.model.unit import Mark, Ownership, UnitFile
from bridge.units.differences import needs_restart
from bridge.units.marker import FORMAT, marked, read_mark

UNIT = "vassal-a.socket"
TEXT = "[Socket]\nListenStream=/run/a\nSocketMode=0660\nRemoveOnStop=yes\n"


def as_file(text: str, unit_format: str) -> UnitFile:
    """Return the unit file that a version with this format made."""
    text = marked(text, Mark(unit=UNIT, config="/v/a.ini"))
    text = text.replace(f'Format="{FORMAT}"\n', f'Format="{unit_format}"\n' if unit_format else "")
    file = UnitFile(path=f"/u/{UNIT}", ownership=Ownership.OURS, text=text, mark=read_mark(UNIT, text))
    assert file.mark is not None
    assert file.mark.format == unit_format
    return file


OTHER_FORMATS = ["", "1", "2", "5", "7"]


@pytest.mark.parametrize("unit_format", OTHER_FORMATS)
@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT + "LogLevelMax=notice\n",
        TEXT.replace("RemoveOnStop=yes\n", ""),
        "[Socket]\nSocketMode=0660\nListenStream=/run/a\n",
        "# Backlog=5\n" + TEXT,
    ],
)
def test_a_new_format_alone_stops_nothing(unit_format: str, text: str) -> None:
    assert not needs_restart(as_file(TEXT, unit_format), marked(text, Mark(unit=UNIT, config="/v/a.ini")))


@pytest.mark.parametrize("unit_format", [*OTHER_FORMATS, FORMAT])
@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace("/run/a", "/run/b"),
        TEXT.replace("0660", "0666"),
        TEXT.replace("SocketMode=0660\n", ""),
        TEXT + "ListenStream=/run/b\n",
        *(f"{TEXT}{key}=x\n" for key in ("SocketUser", "SocketGroup", "Backlog", "User", "Group", "StandardInput")),
    ],
)
def test_another_socket_or_user_stops_it_in_every_format(unit_format: str, text: str) -> None:
    assert needs_restart(as_file(TEXT, unit_format), text)


def test_in_its_own_format_every_new_text_stops_it() -> None:
    assert needs_restart(as_file(TEXT, FORMAT), TEXT + "LogLevelMax=notice\n")


def test_a_file_without_a_mark_is_compared_by_its_settings() -> None:
    file = replace(as_file(TEXT, FORMAT), text=TEXT, mark=None)
    assert not needs_restart(file, TEXT + "LogLevelMax=notice\n")
    assert needs_restart(file, TEXT + "Backlog=5\n")


def test_a_new_mark_alone_stops_nothing() -> None:
    """As when a vassal moves to another bridge.toml or another monitor."""
    one = marked(TEXT, Mark(unit=UNIT, config="/v/a.ini", configuration="/etc/other.toml", monitor="dir:///v"))
    assert not needs_restart(as_file(TEXT, FORMAT), one)
    assert needs_restart(as_file(TEXT, FORMAT), one + "Backlog=7\n")
