"""Which sockets have drop-ins that make them listen elsewhere, and where systemd says that they listen."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from bridge.model.address import parse_address
from bridge.units.drop_ins import listening_of, sockets_with_drop_ins

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

A, B = "vassal-a-b.socket", "vassal-c.socket"
MANY = [f"vassal-m{number}.socket" for number in range(100)]


def drop_in(root: Path, folder: str, text: str = "[Socket]\nListenStream=\n", name: str = "x.conf") -> str:
    path = root / folder
    path.mkdir(parents=True, exist_ok=True)
    (path / name).write_text(text)
    return str(path / name)


@pytest.mark.parametrize("others", [[], MANY], ids=["few", "many"])
@pytest.mark.parametrize(
    ("folder", "found"),
    [
        (f"{A}.d", [A]),
        ("vassal-a-.socket.d", [A]),
        ("vassal-.socket.d", [A, B]),
        ("socket.d", [A, B]),
        ("vassal-a.socket.d", []),
        ("vassal-a-b.service.d", []),
        ("-.socket.d", []),
    ],
)
def test_a_drop_in_is_in_force_for_the_units_that_systemd_takes_it_for(
    tmp_path: Path, folder: str, found: list[str], others: list[str]
) -> None:
    drop_in(tmp_path, f"run/{folder}")
    unit_path = (f"{tmp_path}/none", f"{tmp_path}/run", f"{tmp_path}/etc")
    sockets = [A, B, *others]
    assert [one for one in sockets_with_drop_ins(sockets, unit_path) if one in {A, B}] == found


@pytest.mark.parametrize(
    ("text", "name", "is_found"),
    [
        ("[Socket]\nListenStream=/run/x\n", "x.conf", True),
        ("[Socket]\n ListenDatagram = \n", "x.conf", True),
        ("[Socket]\nBacklog=7\n", "x.conf", False),
        ("[Socket]\n#ListenStream=/run/x\n", "x.conf", False),
        ("[Socket]\nListenStream=/run/x\n", "x.conf~", False),
    ],
)
def test_only_what_sets_an_address_counts(tmp_path: Path, text: str, name: str, is_found: bool) -> None:
    drop_in(tmp_path, f"{A}.d", text, name)
    assert bool(sockets_with_drop_ins([A], (str(tmp_path),))) == is_found


class Manager:
    def __init__(self, **values: Any) -> None:
        self._values = values

    def properties(self, units: Sequence[str], interface: str, name: str) -> dict[str, Any]:
        assert (interface, name) in {("Socket", "Listen"), ("Unit", "DropInPaths")}
        return {unit: self._values[name] for unit in units if name in self._values}


def test_systemd_says_where_it_listens_and_which_drop_in_says_so(tmp_path: Path) -> None:
    moves = drop_in(tmp_path, f"{A}.d")
    other = drop_in(tmp_path, f"{A}.d", "[Socket]\nBacklog=7\n", "y.conf")
    odd = os.fsdecode(b'/run/\xc3\xa9"\\')
    pairs = [("Stream", "[::]:80"), ("Stream", r"/run/\303\251\"\\"), ("Datagram", "/run/d"), ("Stream", "/")]
    manager: Any = Manager(Listen=pairs, DropInPaths=[moves, other])
    found = listening_of([A], manager)[A]
    assert found.addresses == (
        parse_address("[::]:80", base="/"), parse_address(odd, base="/"), "/run/d (Datagram)", "/",
    )  # fmt: skip
    assert found.drop_ins == (moves,)
    assert str(found) == f"[::]:80 and {odd} and /run/d (Datagram) and /"
    nothing: Any = Manager(Listen=[])
    assert str(listening_of([A], nothing)[A]) == "nothing"
    assert listening_of([], manager) == {}
