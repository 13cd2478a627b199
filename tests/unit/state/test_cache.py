from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import pytest

from bridge.model.address import collision_key, parse_address
from bridge.state import fingerprint
from bridge.state.cache import CachedVassal, VassalCache
from bridge.state.cache_file import CacheFile

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.model.address import Address

V = "dir:///v"


def address(text: str) -> Address:
    return parse_address(text, base="/v")


def record(
    name: str = "app", at: str = "", *, monitor: str = V, tenant: int | None = None, inputs: tuple[str, ...] = ()
) -> CachedVassal:
    """Return the record of a vassal that is served as it should be."""
    config = f"/v/{name}.ini"
    return CachedVassal(
        name=f"{name}.ini",
        config=config,
        monitor=monitor,
        label=name,
        collision_keys=(collision_key(address(at)),) if at else (),
        addresses=(at,) if at else (),
        tenant=tenant,
        is_served=True,
        is_clean=True,
        inputs=(config, *inputs),
        outputs=(f"/u/vassal-{name}.service",),
    )


def cache_of(*records: CachedVassal, extension: str = "") -> VassalCache:
    return VassalCache({f"{one.monitor}:{one.name}": one for one in records}, extension=extension)


# What configs include, link to or ask about.


@pytest.mark.parametrize("asked", ["app.ini.down", "app.ini.socket2", "app.ini2", "xapp.ini", "app", "down.flag"])
def test_a_file_that_a_config_asks_about_is_included_whatever_its_name_begins_with(asked: str) -> None:
    cache = cache_of(record(inputs=("/v/app.ini.socket", f"/v/{asked}")), extension=".socket")
    assert cache.included == {asked}


def test_a_config_and_its_rule_file_are_its_own() -> None:
    assert cache_of(record(inputs=("/v/app.ini.socket",)), extension=".socket").included == set()
    # Under another rule, or none, such a file is one like any other.
    assert cache_of(record(inputs=("/v/app.ini.socket",))).included == {"app.ini.socket"}
    assert cache_of(record(inputs=("/v/app.ini.socket",)), extension=".rule").included == {"app.ini.socket"}


def test_the_note_of_a_row_is_its_own_and_that_of_another_is_not() -> None:
    notes = ("/m/rows/app.ini", "/m/rows/b.ini")
    assert cache_of(record(inputs=notes)._replace(note=notes[0])).included == {"b.ini"}


def test_the_config_of_another_vassal_is_included() -> None:
    assert cache_of(record("a", inputs=("/v/b.ini", "/w/c.inc")), record("b")).included == {"b.ini", "c.inc"}


def test_what_was_included_once_stays_so() -> None:
    """The records forget their files, and a file that is no longer included costs a run of all vassals, no more."""
    cache = cache_of(record(inputs=("/v/skel",)))
    cache.drop_files()
    assert cache.records[f"{V}:app.ini"].inputs == cache.records[f"{V}:app.ini"].outputs == ()
    assert cache.included == {"skel"}
    cache.replace([f"{V}:app.ini"], {f"{V}:app.ini": record(inputs=("/v/other",))})
    assert cache.included == {"skel", "other"}


def test_what_the_records_keep_without_their_files_is_a_copy() -> None:
    """It is not to hold the memory of the run that made it."""
    name = "".join(["a", "\udcff"])
    made = record(name, "/run/a")
    cache = cache_of(made)
    cache.drop_files()
    (kept,) = cache.records.values()
    assert kept == made._replace(inputs=(), outputs=())
    assert kept.label is not made.label
    assert cache.has_rivals([made.label], [], ())
    assert cache.has_rivals([], [address("/run/a")], ())


# Names and addresses.


def test_rivals_have_or_want_the_same_name_or_an_address_like_it() -> None:
    cache = cache_of(record("a", "/run/a"), record("b", ":80"))
    assert cache.has_rivals(["a"], [], ())
    assert not cache.has_rivals(["a"], [], {f"{V}:a.ini"})
    assert not cache.has_rivals(["c"], [], ())
    assert cache.has_rivals([], [address("/run/a")], {f"{V}:b.ini"})
    assert not cache.has_rivals([], [address("/run/a")], {f"{V}:a.ini"})
    # All addresses of one port might overlap.
    assert cache.has_rivals([], [address("[::1]:80")], ())
    assert not cache.has_rivals([], [address(":81"), address("@a")], ())


def test_a_vassal_outside_the_scope_is_a_rival_of_one_inside() -> None:
    cache = cache_of(record("a", "@x"), record("b", "@x"))
    assert cache.has_rivals([], [address("@x")], {f"{V}:a.ini"})
    assert not cache.has_rivals([], [address("@x")], {f"{V}:a.ini", f"{V}:b.ini"})


def test_whoever_contends_with_a_vassal_is_processed_with_it() -> None:
    cache = cache_of(record("a", "@x"), record("b", "@x"), record("c", "@y"))
    cache.replace([], {f"{V}:b.xml": record("b", "@y")._replace(name="b.xml")})
    # b wants the address of a, b.xml the name of b, and c the address of b.xml.
    everyone = {f"{V}:a.ini", f"{V}:b.ini", f"{V}:b.xml", f"{V}:c.ini"}
    assert cache.with_rivals([f"{V}:a.ini"]) == cache.with_rivals([f"{V}:c.ini"]) == everyone
    cache.replace([f"{V}:b.xml"], {})
    assert cache.with_rivals([f"{V}:a.ini"]) == {f"{V}:a.ini", f"{V}:b.ini"}
    assert cache.with_rivals([f"{V}:new.ini"]) == {f"{V}:new.ini"}
    assert cache.with_rivals([]) == set()


def test_claims_move_with_their_records() -> None:
    cache = cache_of(record("a", "@x"), record("b", "@y"))
    cache.replace([f"{V}:a.ini"], {f"{V}:a.ini": record("a", "@z")})
    assert not cache.has_rivals([], [address("@x")], ())
    assert cache.has_rivals(["a"], [], ())
    assert cache.has_rivals([], [address("@z")], ())
    cache.replace([f"{V}:a.ini"], {})
    assert not cache.has_rivals(["a"], [address("@z")], ())
    assert cache.has_rivals(["b"], [], ())
    assert set(cache.records) == {f"{V}:b.ini"}


def test_a_record_that_is_not_in_the_scope_replaces_its_own_too() -> None:
    cache = cache_of(record("a", "@x"))
    cache.replace([], {f"{V}:a.ini": record("a", "@y"), f"{V}:c.ini": record("c")})
    assert not cache.has_rivals([], [address("@x")], ())
    assert cache.has_rivals(["c"], [], ())
    assert cache.served(()) == {(V, None): 2}


def test_which_sockets_a_reload_closes() -> None:
    cache = cache_of(record("a", "/run/é"), record("b", "/run/b"), record("c"), record("d", "@é"))
    assert set(cache.fragile(["a", "b", "c", "none"])) == {"a"}
    assert set(cache.fragile(["a", "d"])) == {"a", "d"}
    cache.replace([], {f"{V}:a.ini": record("a", "/run/é")._replace(is_served=False)})
    assert cache.fragile(["a"]) == {}


def test_the_labels_of_vassals() -> None:
    cache = cache_of(record("a"), record("b"))
    assert cache.labels_of([f"{V}:a.ini", f"{V}:none.ini"]) == {"a"}
    cache.replace([], {f"{V}:bad name": CachedVassal()})
    assert cache.labels_of([f"{V}:bad name"]) == set()


# Who is served.


def test_the_served_are_counted_by_monitor_and_tenant() -> None:
    cache = cache_of(
        record("a", tenant=1), record("b", tenant=1), record("c", tenant=2), record("d", monitor="dir:///w")
    )
    assert cache.served(()) == {(V, 1): 2, (V, 2): 1, ("dir:///w", None): 1}
    assert +cache.served({f"{V}:a.ini", f"{V}:c.ini", f"{V}:none.ini"}) == {(V, 1): 1, ("dir:///w", None): 1}
    # It is a count of that moment.
    cache.served(()).clear()
    assert cache.served(()).total() == 4


def test_the_count_follows_the_records() -> None:
    cache = cache_of(record("a", tenant=1), record("b", tenant=1))
    a = f"{V}:a.ini"
    cache.replace([a], {a: record("a", tenant=2)})
    assert +cache.served(()) == {(V, 1): 1, (V, 2): 1}
    cache.replace([a], {a: record("a", tenant=2)._replace(is_served=False)})
    assert +cache.served(()) == {(V, 1): 1}
    cache.replace([a], {})
    cache.replace([a], {})
    assert +cache.served(()) == {(V, 1): 1}
    assert cache.served(()).total() == 1


def test_the_installed_are_those_that_have_units() -> None:
    waits, always = record("a", "/run/a", tenant=7), record("b")
    cache = cache_of(waits, always, record("c")._replace(is_served=False))
    found = cache.installed(())
    assert set(found) == {"a", "b"}
    assert (found["a"].name, found["a"].config, found["a"].key) == ("a.ini", "/v/a.ini", f"{V}:a.ini")
    assert (found["a"].addresses, found["a"].tenant, found["a"].primary_unit) == (
        (address("/run/a"),),
        7,
        "vassal-a.socket",
    )
    assert (found["b"].addresses, found["b"].primary_unit) == ((), "vassal-b.service")
    assert set(cache.installed({f"{V}:a.ini"})) == {"b"}


# The file.


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    made = {name: tmp_path / name for name in ("a.ini", "b.ini", "a.service", "b.service")}
    for path in made.values():
        path.write_text("x")
    return made


def served(files: dict[str, Path], name: str, at: str = "") -> CachedVassal:
    inputs, outputs = (str(files[f"{name}.ini"]),), (str(files[f"{name}.service"]),)
    return record(name, at, tenant=5)._replace(inputs=inputs, outputs=outputs)


def later() -> int:
    """Return a moment that is so late that all files are older."""
    return time.time_ns() + 10 * fingerprint._TICK


def all_in_scope(key: str) -> bool:
    return bool(key)


def test_the_file_round_trips(tmp_path: Path, files: dict[str, Path]) -> None:
    path = tmp_path / "roll"
    cache = cache_of(
        served(files, "a", "@a"),
        record("odd\udcff\n")._replace(is_served=False, is_clean=False),
        CachedVassal(name="e.ini", monitor=V),
    )
    CacheFile(str(path), "basis").write(cache, later(), all_in_scope, {})
    found = CacheFile(str(path), "basis").read(extension=".socket")
    assert found is not None
    again, digests = found
    assert again.records == cache.records
    assert all(isinstance(one, CachedVassal) for one in again.records.values())
    assert +again.served(()) == {(V, 5): 1}
    assert again.has_rivals(["a"], [], ())
    a = cache.records[f"{V}:a.ini"]
    assert digests == dict.fromkeys(cache.records, 0) | {f"{V}:a.ini": fingerprint.digest((*a.inputs, *a.outputs))}


def test_the_extension_counts_when_it_is_read(tmp_path: Path) -> None:
    file = CacheFile(str(tmp_path / "roll"), "basis")
    file.write(cache_of(record(inputs=("/v/app.ini.socket", "/v/app.ini.down"))), later(), all_in_scope, {})
    found = file.read(extension=".socket")
    assert found is not None
    assert found[0].included == {"app.ini.down"}


def test_what_is_outside_the_scope_keeps_its_fingerprint(tmp_path: Path, files: dict[str, Path]) -> None:
    file = CacheFile(str(tmp_path / "roll"), "basis")
    a, b = f"{V}:a.ini", f"{V}:b.ini"
    file.write(cache_of(served(files, "a"), served(files, "b")), later(), lambda key: key == a, {a: 7, b: 8})
    found = file.read(extension="")
    assert found is not None
    assert found[1][b] == 8
    assert found[1][a] not in {0, 7}


def test_a_file_that_changed_since_the_run_began_has_no_fingerprint(tmp_path: Path, files: dict[str, Path]) -> None:
    file = CacheFile(str(tmp_path / "roll"), "basis")
    for began, is_known in ((later(), True), (files["a.ini"].stat().st_ctime_ns, False)):
        file.write(cache_of(served(files, "a")), began, all_in_scope, {})
        found = file.read(extension="")
        assert found is not None
        assert bool(found[1][f"{V}:a.ini"]) == is_known


def test_who_is_not_clean_has_no_fingerprint(tmp_path: Path, files: dict[str, Path]) -> None:
    file = CacheFile(str(tmp_path / "roll"), "basis")
    file.write(cache_of(served(files, "a")._replace(is_clean=False)), later(), all_in_scope, {f"{V}:a.ini": 7})
    found = file.read(extension="")
    assert found is not None
    assert found[1] == {f"{V}:a.ini": 0}


def test_another_basis_or_a_broken_file_is_no_cache(tmp_path: Path) -> None:
    path = tmp_path / "roll"
    file = CacheFile(str(path), "basis")
    assert file.read(extension="") is None
    file.write(cache_of(record()), later(), all_in_scope, {})
    assert CacheFile(str(path), "other").read(extension="") is None
    whole = path.read_text()
    for text in (
        "",
        "{}",
        "[]",
        "\0",
        whole[:-1],
        json.dumps({"basis": "basis"}),
        '{"basis": "basis", "vassals": [1]}',
    ):
        path.write_text(text)
        assert file.read(extension="") is None, text
    path.write_text(whole)
    assert file.read(extension="") is not None


def test_it_is_forgotten(tmp_path: Path) -> None:
    file = CacheFile(str(tmp_path / "roll"), "basis")
    file.forget()
    file.write(cache_of(record()), later(), all_in_scope, {})
    assert os.listdir(tmp_path) == ["roll"]
    file.forget()
    assert os.listdir(tmp_path) == []
