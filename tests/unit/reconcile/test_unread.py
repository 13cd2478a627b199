"""Thousands of new vassals: their configs are read while others start, and all ends as if they had been read first."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.diagnostics import BridgeError
from bridge.model.change import Verb
from bridge.reconcile import bring_up, unread
from tests.unit.reconcile.site import CONFIG, Site, verbs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from bridge.model.vassal import ResolvedVassal
    from bridge.reconcile.run import PlannedRun

NO_MATTER = sys.maxsize
KINDS = {
    "usual": CONFIG,
    "broken": CONFIG + "ini = /nowhere.ini\n",
    "not for units": CONFIG + "chdir = /srv/a\tb\n",
    "a warning": "",
    "no rule": CONFIG,
    "the same address": CONFIG,
    "its own socket": CONFIG + "socket = @{own}\n",
    "always, at a neighbour's": CONFIG + "socket = @{neighbour}\n",
}
GREEDY = CONFIG + "socket = @{own}\nhttp-socket = @{neighbour}\n"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with few vassals, and start them by twos."""
    monkeypatch.setattr(unread, "WORTH", 1)
    for name in ("SHARE", "FIRST_SHARE", "REST"):
        monkeypatch.setattr(bring_up, name, 2)


@pytest.fixture
def shares(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many configs were read at a time while others started."""
    noted: list[int] = []
    read = unread.UnreadVassals.texts

    def noting(self: unread.UnreadVassals, vassals: Collection[ResolvedVassal]) -> dict[str, str]:
        noted.append(len(vassals))
        return read(self, vassals)

    monkeypatch.setattr(unread.UnreadVassals, "texts", noting)
    return noted


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.manager.close()


def populate(site: Site, kinds: list[str]) -> None:
    """Write vassals of these kinds, or with these configs."""
    for number, kind in enumerate(kinds):
        address = {"no rule": None, "always, at a neighbour's": None, "the same address": "same"}.get(
            kind, f"a{number}"
        )
        own, neighbour = f"{site.name}-a{number}", f"{site.name}-a{(number + 1) % len(kinds)}"
        site.write(f"v{number}", address, KINDS.get(kind, kind).format(own=own, neighbour=neighbour))


def told(site: Site, run: PlannedRun) -> list[str]:
    """Return what a run did, found and left, in words that do not depend on the site's place."""
    units = site.folder.parent / "units"
    with open(site.paths.cache) as file:
        noted = json.load(file)["vassals"]
    facts = [f"{change.vassal} {change.verb} {change.detail}" for change in run.changes]
    facts += [str(problem) for problem in run.diagnostics]
    facts += sorted(f"{one.vassal.key} {one.sources} {one.spawn}" for one in run.conflicts.accepted)
    facts += sorted(map(str, units.rglob("*")))
    facts += [path.read_text() for path in sorted(units.glob("vassal-*"))]
    facts += [f"{key} {bool(digest)} {rest}" for key, (digest, *rest) in sorted(noted.items())]
    facts += sorted(unit for unit, state in site.manager.states.items() if not state.is_down)
    return [fact.replace(str(site.folder.parent), "ROOT").replace(site.name, "SITE") for fact in facts]


@pytest.mark.parametrize(
    "kinds", [["usual"] * 7, *(["usual", kind, "usual", "usual", kind] for kind in KINDS)], ids=str
)
def test_it_ends_as_if_all_had_been_read_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shares: list[int], kinds: list[str]
) -> None:
    results = []
    for name, worth in (("later", 1), ("first", NO_MATTER)):
        monkeypatch.setattr(unread, "WORTH", worth)
        shares.clear()
        (root := tmp_path / name).mkdir()
        site = Site(root)
        populate(site, kinds)
        site.age()
        results.append(told(site, site.sync()))
        assert bool(shares) == (worth == 1)
        assert site.is_done()
        site.manager.close()
    assert results[0] == results[1]


def test_a_config_that_claims_a_neighbours_address_comes_too_late(site: Site) -> None:
    populate(site, ["usual", "usual", "usual", "usual", GREEDY])
    run = site.sync()
    assert verbs(run).keys() == {"v0.ini", "v1.ini", "v2.ini", "v3.ini"}
    assert [(problem.code, problem.vassal) for problem in run.diagnostics] == [("address-conflict", "v4.ini")]
    assert site.is_done()


def test_new_units_are_all_written_before_old_ones_go(site: Site, shares: list[int]) -> None:
    site.write("old", "old")
    site.sync()
    (site.folder / "old.ini").unlink()
    populate(site, ["usual", "usual", "broken", "usual", "usual", "usual"])
    os.unlink(site.paths.cache)
    run = site.sync()
    assert shares == [5]
    assert verbs(run) == {"old.ini": Verb.REMOVED} | {f"v{number}.ini": Verb.ADDED for number in (0, 1, 3, 4, 5)}
    assert site.is_done()


def test_few_new_vassals_are_read_first(monkeypatch: pytest.MonkeyPatch, site: Site, shares: list[int]) -> None:
    monkeypatch.setattr(unread, "WORTH", 4)
    populate(site, ["usual"] * 4)
    site.sync()
    assert shares == []


def test_a_fault_of_a_template_is_told_before_anything_starts(site: Site, tmp_path: Path) -> None:
    populate(site, ["usual"] * 4)
    (folder := tmp_path / "templates").mkdir()
    (folder / "vassal.socket.j2").write_text("{{ nothing.there }}")
    site.paths = replace(site.paths, templates=(str(folder), *site.paths.templates))
    with pytest.raises(BridgeError, match="nothing"):
        site.sync()
    assert not any(call.startswith("start") for call in site.manager.calls)


def test_a_template_that_fails_for_one_vassal_leaves_no_other_half_started(site: Site, tmp_path: Path) -> None:
    populate(site, ["usual"] * 5)
    (folder := tmp_path / "templates").mkdir()
    shipped = Path(site.paths.templates[-1], "vassal.service.j2").read_text()
    (folder / "vassal.service.j2").write_text(shipped + "{{ nothing.there if 'v3.ini' in description }}\n")
    site.paths = replace(site.paths, templates=(str(folder), *site.paths.templates))
    with pytest.raises(BridgeError, match="nothing"):
        site.sync()
    up = {unit for unit, state in site.manager.states.items() if not state.is_down}
    assert up >= {f"vassal-v{number}.socket" for number in (1, 2, 4)}
