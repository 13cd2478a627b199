"""The mirror on disk: what is written, what stays, and what a crash or a full disk leaves."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bridge.feeder.protocol import Row
from bridge.mirror import change as module
from bridge.mirror.change import Change, LimitError, MirrorWriter
from bridge.mirror.rows import named_users
from bridge.mirror.store import MirrorFolder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

A = Row(name="a.ini", config="[uwsgi]\na = 1\n", ts=10.0, socket="/run/a.sock")
B = Row(name="b.ini", config="[uwsgi]\nb = 1\n", ts=10.0)


@pytest.fixture
def folder(tmp_path: Path) -> MirrorFolder:
    return MirrorFolder(str(tmp_path / "mirror"))


@pytest.fixture
def writer(folder: MirrorFolder) -> MirrorWriter:
    writer = MirrorWriter(folder)
    assert writer.open()
    return writer


def answer(writer: MirrorWriter, *rows: Row) -> bool:
    change = Change(writer, is_whole=True)
    for row in rows:
        change.put(row)
    return change.commit()


def put(writer: MirrorWriter, *rows: Row) -> bool:
    change = Change(writer, is_whole=False)
    for row in rows:
        change.put(row)
    return change.commit()


def texts(folder: MirrorFolder) -> dict[str, str]:
    """Return the text of each row that counts."""
    found = {}
    for row in folder.read_all():
        with open(folder.config(row.name)) as file:
            found[row.name] = file.read()
    return found


def state(folder: MirrorFolder) -> list[tuple[str, int, int]]:
    """Return what shows that a file was written anew or touched."""
    found = []
    for top, _, names in os.walk(folder.path):
        found += [(name, (info := os.stat(f"{top}/{name}")).st_ino, info.st_ctime_ns) for name in sorted(names)]
    return found


def test_an_answer_is_all_there_is(folder: MirrorFolder, writer: MirrorWriter) -> None:
    assert answer(writer, A, B)
    assert texts(folder) == {"a.ini": A.config, "b.ini": B.config}
    assert answer(writer, B)
    assert texts(folder) == {"b.ini": B.config}
    assert answer(writer)
    assert texts(folder) == {}


def test_the_note_has_what_the_row_says(folder: MirrorFolder, writer: MirrorWriter) -> None:
    answer(writer, replace(A, uid=33, gid=34))
    row = folder.read("a.ini")
    assert row is not None
    assert (row.name, row.ts, row.uid, row.gid, row.socket, row.has_rule, row.has_text) == (
        "a.ini", 10.0, 33, 34, "/run/a.sock", True, True,
    )  # fmt: skip
    assert folder.read("b.ini") is None
    assert folder.names() == ["a.ini"]


def test_the_same_answer_touches_nothing(folder: MirrorFolder, writer: MirrorWriter) -> None:
    answer(writer, A, B)
    before = state(folder)
    assert not answer(writer, A, B)
    assert not answer(writer, A, replace(B, ts=9.0))
    assert state(folder) == before


def test_another_process_finds_it_unchanged(folder: MirrorFolder, writer: MirrorWriter) -> None:
    answer(writer, A, B)
    writer.close()
    before = state(folder)
    second = MirrorWriter(folder)
    assert second.open()
    assert not answer(second, A, B)
    assert state(folder) == before


def test_one_writer_at_a_time(folder: MirrorFolder, writer: MirrorWriter) -> None:
    second = MirrorWriter(folder)
    assert not second.open()
    assert not second.is_open
    writer.close()
    assert second.open()


@pytest.mark.parametrize(
    ("new", "is_new_text"),
    [
        (replace(A, config="[uwsgi]\na = 2\n"), True),
        (replace(A, ts=11.0), True),
        (replace(A, socket="/run/other.sock"), False),
        (replace(A, socket=""), False),
        (replace(A, uid=5), False),
    ],
)
def test_what_a_change_touches(folder: MirrorFolder, writer: MirrorWriter, new: Row, *, is_new_text: bool) -> None:
    answer(writer, A)
    before = os.stat(folder.config("a.ini"))
    assert answer(writer, new)
    after = os.stat(folder.config("a.ini"))
    # The config's age is what has a running vassal reloaded.
    assert ((before.st_ino, before.st_ctime_ns) != (after.st_ino, after.st_ctime_ns)) == is_new_text
    row = folder.read("a.ini")
    assert row is not None
    assert (row.socket, row.uid, row.ts) == (new.socket, new.uid, new.ts)
    assert texts(folder) == {"a.ini": new.config}


def test_a_text_that_changed_without_its_time_counts_and_the_time_never_goes_back(
    folder: MirrorFolder, writer: MirrorWriter
) -> None:
    answer(writer, A)
    assert answer(writer, replace(A, config="new", ts=5.0))
    assert texts(folder) == {"a.ini": "new"}
    row = folder.read("a.ini")
    assert row is not None
    assert row.ts == 10.0


def test_single_changes_leave_the_others(folder: MirrorFolder, writer: MirrorWriter) -> None:
    answer(writer, A)
    assert put(writer, B)
    assert set(texts(folder)) == {"a.ini", "b.ini"}
    change = Change(writer, is_whole=False)
    change.remove("a.ini")
    change.remove("unknown.ini")
    assert change.commit()
    assert set(texts(folder)) == {"b.ini"}


def test_the_last_of_several_changes_counts(folder: MirrorFolder, writer: MirrorWriter) -> None:
    put(writer, A)
    change = Change(writer, is_whole=False)
    change.put(replace(A, config="2", ts=11.0))
    change.put(replace(A, config=A.config, ts=11.0))
    change.put(B)
    change.remove("b.ini")
    assert change.commit()
    assert texts(folder) == {"a.ini": A.config}
    change = Change(writer, is_whole=False)
    change.remove("a.ini")
    change.put(replace(A, config="3", ts=12.0))
    assert change.commit()
    assert texts(folder) == {"a.ini": "3"}
    assert os.listdir(folder.new) == []


def test_a_touch_without_text_keeps_the_text(folder: MirrorFolder, writer: MirrorWriter) -> None:
    put(writer, A)
    before = os.stat(folder.config("a.ini")).st_ctime_ns
    assert put(writer, Row(name="a.ini", ts=11.0, keep_known=True))
    assert texts(folder) == {"a.ini": A.config}
    assert os.stat(folder.config("a.ini")).st_ctime_ns > before
    row = folder.read("a.ini")
    assert row is not None
    assert (row.socket, row.ts) == (A.socket, 11.0)
    put(writer, Row(name="new.ini", keep_known=True))
    assert [row.name for row in folder.read_all() if not row.has_text] == ["new.ini"]


def test_a_row_without_text_is_a_path(folder: MirrorFolder, writer: MirrorWriter) -> None:
    row = Row(name="/etc/sites/a.ini", ts=1.0, socket="/run/x", has_rule=False)
    assert put(writer, row)
    found = folder.read("/etc/sites/a.ini")
    assert found is not None
    assert (found.has_text, found.has_rule) == (False, False)
    assert folder.names() == ["/etc/sites/a.ini"]
    assert not put(writer, row)
    change = Change(writer, is_whole=False)
    change.remove("/etc/sites/a.ini")
    assert change.commit()
    assert folder.names() == []


def test_a_path_that_gets_a_text(folder: MirrorFolder, writer: MirrorWriter) -> None:
    put(writer, replace(A, config=None))
    assert put(writer, replace(A, ts=11.0))
    assert texts(folder) == {"a.ini": A.config}
    assert folder.names() == ["a.ini"]


def test_a_row_that_cannot_be_used_leaves_what_there_was(folder: MirrorFolder, writer: MirrorWriter) -> None:
    answer(writer, A, B)
    change = Change(writer, is_whole=True)
    change.keep("a.ini")
    assert change.commit()
    assert texts(folder) == {"a.ini": A.config}


def test_texts_of_gone_rows_stay_until_no_vassal_needs_them(folder: MirrorFolder, writer: MirrorWriter) -> None:
    answer(writer, A, B)
    answer(writer)
    writer.settle(lambda name: name == "a.ini")
    assert os.listdir(folder.configs) == ["a.ini"]
    writer.settle(lambda _: False)
    assert os.listdir(folder.configs) == []


def test_who_may_read(folder: MirrorFolder, writer: MirrorWriter) -> None:
    answer(writer, A)
    assert os.stat(folder.path).st_mode & 0o777 == 0o711
    assert os.stat(folder.config("a.ini")).st_mode & 0o777 == 0o600
    assert os.stat(folder.note("a.ini", has_text=True)).st_mode & 0o777 == 0o600
    tyrant = MirrorWriter(folder, reader=7, is_tyrant=True)
    assert tyrant.readers(replace(A, uid=33, config="uid = 34")) == [33]
    chosen = MirrorWriter(folder, reader=7)
    assert chosen.readers(replace(A, uid=33, config="uid = 34")) == [7, 34]


@pytest.mark.parametrize(
    ("text", "uids"),
    [
        ("[uwsgi]\nuid = 33\n", [33]),
        ("uwsgi:\n  uid: 33\n", [33]),
        ('{"uwsgi": {"uid": "33"}}', [33]),
        ("<uwsgi><uid>33</uid></uwsgi>", [33]),
        ("uid=nobody-of-this-name", []),
        ("uid = 0", []),
        ("liquid = 33\ngid = 34", []),
        ("uid = 1\nuid = 1\nuid = 2", [1, 2]),
    ],
)
def test_users_that_a_text_names(text: str, uids: list[int]) -> None:
    assert named_users(text) == uids


def test_a_full_disk_leaves_what_was_there(
    folder: MirrorFolder, writer: MirrorWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(writer, A)
    before = state(folder)
    change = Change(writer, is_whole=True)
    change.put(B)
    with monkeypatch.context() as patch:
        patch.setattr(module, "let_read", _full)
        with pytest.raises(OSError, match="No space left"):
            change.put(replace(A, config="new"))
    change.abort()
    assert [one for one in state(folder) if one[0] != "lock"] == [one for one in before if one[0] != "lock"]
    assert answer(writer, replace(A, config="new"), B)
    assert texts(folder) == {"a.ini": "new", "b.ini": B.config}


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


class Killed(BaseException):
    """The process ends here."""


def dying_after(calls: int, real: Callable[..., None]) -> Callable[..., None]:
    """Return a call that works so many times and then ends the process."""
    left = iter(range(calls))

    def call(*arguments: str) -> None:
        if next(left, None) is None:
            raise Killed
        real(*arguments)

    return call


@pytest.mark.parametrize("is_text_first", [True, False])
def test_killed_anywhere_each_row_is_old_or_new_and_the_next_answer_repairs(
    folder: MirrorFolder, monkeypatch: pytest.MonkeyPatch, *, is_text_first: bool
) -> None:
    old = (A, B)
    new = (replace(A, config="new a", socket="/run/new.sock", ts=11.0), Row(name="c.ini", config="c"))
    deaths = 0
    for calls in range(20):
        writer = MirrorWriter(folder)
        assert writer.open()
        answer(writer, *old)
        with monkeypatch.context() as patch:
            name = "rename" if is_text_first else "unlink"
            patch.setattr(f"os.{name}", dying_after(calls, getattr(os, name)))
            try:
                answer(writer, *new)
            except Killed:
                deaths += 1
        writer.close()
        known = {row.name: row for row in folder.read_all()}
        for name, text in texts(folder).items():
            assert text in {one.config for one in (*old, *new) if one.name == name}, name
        assert known["a.ini"].socket in {"/run/a.sock", "/run/new.sock"}
        second = MirrorWriter(folder)
        assert second.open()
        answer(second, *new)
        assert texts(folder) == {"a.ini": "new a", "c.ini": "c"}
        assert os.listdir(folder.new) == []
        second.close()
        if deaths <= calls:
            break
    assert deaths >= 1


def test_a_failed_rename_is_made_up_for(
    folder: MirrorFolder, writer: MirrorWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(writer, A, B)
    real = os.rename

    def rename(source: str, target: str) -> None:
        if target == folder.note("a.ini", has_text=True):
            raise OSError(5, "Input/output error")
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("os.rename", rename)
        with pytest.raises(OSError, match="Input/output"):
            answer(writer, replace(A, config="new"), B)
    assert answer(writer, B)
    assert texts(folder) == {"b.ini": B.config}


def test_damage_is_repaired(folder: MirrorFolder, writer: MirrorWriter) -> None:
    answer(writer, A, B)
    writer.close()
    os.unlink(folder.config("a.ini"))
    with open(folder.note("b.ini", has_text=True), "w") as file:
        file.write('{"name": "b.ini"')
    with open(f"{folder.rows}/gone.ini", "w") as file:
        file.write("garbage")
    second = MirrorWriter(folder)
    assert second.open()
    assert answer(second, A, B)
    assert texts(folder) == {"a.ini": A.config, "b.ini": B.config}
    assert sorted(folder.names()) == ["a.ini", "b.ini"]


def test_limits(writer: MirrorWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS_MAX", 2)
    monkeypatch.setattr(module, "BYTES_MAX", 100)
    answer(writer, A, B)
    assert not answer(writer, A, B, B)
    with pytest.raises(LimitError, match="more than 2 rows"):
        answer(writer, A, B, Row(name="c.ini", config=""))
    with pytest.raises(LimitError, match="more than 2 rows"):
        put(writer, Row(name="c.ini", config=""))
    with pytest.raises(LimitError, match="100 bytes"):
        put(writer, replace(A, config="x" * 100))
    put(writer, replace(A, config="x" * 80))
