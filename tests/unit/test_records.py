"""A dataclass of :mod:`bridge.records` is like one of ``dataclasses``, and cheaper to define."""

from __future__ import annotations

import dataclasses
import re
from copy import copy, deepcopy
from functools import partial
from time import process_time
from typing import Any

import pytest

from bridge import records
from tests.unit.build import ROOT

STANDARD = re.compile(r"^from dataclasses import .*\bdataclass\b", re.MULTILINE)
SLOTTED = re.compile(r"^@dataclass\(.*slots=True", re.MULTILINE)


def classes(dataclass: Any) -> tuple[Any, Any, Any]:
    """Return a dataclass with all kinds of defaults, one derived from it, and one compared by identity."""

    class Named:
        __slots__ = ()
        name: str

        @property
        def shown(self) -> str:
            return f"<{self.name}>"

    @dataclass(frozen=True, slots=True)
    class Point(Named):
        name: str
        x: int = 1
        tags: list[str] = dataclasses.field(default_factory=list)
        secret: str = dataclasses.field(default="s", repr=False)
        note: str = dataclasses.field(default="", compare=False)

        def __post_init__(self) -> None:
            if self.x > 9:
                object.__setattr__(self, "x", 9)

        @classmethod
        def of(cls, name: str) -> Any:
            return cls(name, 2)

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Place(Point):
        z: int  # type: ignore[misc]
        x: int = 3

    @dataclass(frozen=True, slots=True, eq=False, repr=False)
    class Context:
        things: dict[str, int]

        def __repr__(self) -> str:
            return "a context"

    return Point, Place, Context


def behaviour(dataclass: Any) -> list[object]:
    """Return what can be seen of these classes."""
    point, place, context = classes(dataclass)
    one, same, other = point("a"), point(name="a", note="n"), point.of("b")
    derived = place(name="a", z=5, secret="t")
    seen: list[object] = [
        one == same,
        one == other,
        one == derived,
        one == ("a", 1, [], "s"),
        one.shown,
        one.tags is not same.tags,
        point("a", 100).x,
        repr(other),
        repr(derived),
        repr(context({})),
        context({}) == context({}),
        len({context({}), context({})}),
        hash(dataclasses.replace(other, tags=())) == hash(dataclasses.replace(point.of("b"), tags=(), note="m")),
        dataclasses.asdict(derived),
        [(f.name, f.kw_only, f.compare, f.repr) for kind in (point, place) for f in dataclasses.fields(kind)],
        dataclasses.replace(derived, x=7).x,
        dataclasses.is_dataclass(one),
        deepcopy(derived) == derived,
        deepcopy(derived).tags is not derived.tags,
        copy(one) == one,
        [hasattr(thing, "__dict__") for thing in (one, derived, context({}))],
        [kind.__qualname__ for kind in (point, place, context)],
    ]
    for refused in (
        lambda: setattr(one, "x", 2),
        lambda: delattr(one, "x"),
        lambda: hash(one),
        point,
        lambda: point("a", 1, [], "s", "n", 6),
        partial(place, name="a"),
        lambda: place(name="a", z=1, other=2),
    ):
        with pytest.raises((dataclasses.FrozenInstanceError, TypeError)) as raised:
            refused()
        seen.append(raised.type)
    return seen


def test_it_behaves_as_a_dataclass() -> None:
    assert behaviour(records.dataclass) == behaviour(dataclasses.dataclass)


def test_the_constructor_is_compiled_once_it_is_worth_it() -> None:
    point, place, _ = classes(records.dataclass)
    first = point.__init__
    for _ in range(records._FEW):
        point("a")
    assert point.__init__ is first
    place(name="a", z=1)
    point("a")
    compiled = point.__init__
    assert compiled is not first
    assert point("b", 3).x == 3
    assert point.__init__ is compiled
    assert place.__init__ is first


def test_one_that_can_change() -> None:
    seen = []
    for dataclass in (records.dataclass, dataclasses.dataclass):

        @dataclass(slots=True)
        class Entry:
            name: str
            number: int = 1
            more: list[str] = dataclasses.field(default_factory=list)

        entries = [Entry("a"), Entry("a"), Entry(name="a"), Entry("a", 1), Entry("a", 1, [])]
        assert all(one == entries[0] for one in entries)
        entries[1].number = 2
        entries[4].more.append("x")
        with pytest.raises(AttributeError):
            entries[0].other = 1  # type: ignore[attr-defined]
        with pytest.raises(TypeError):
            hash(entries[0])
        seen.append([(one.name, one.number, one.more, one == entries[0]) for one in entries])
    assert seen[0] == seen[1]


def test_a_definition_is_cheap() -> None:
    def cost(dataclass: Any) -> float:
        began = process_time()
        for _ in range(20):
            classes(dataclass)
        return process_time() - began

    assert min(cost(records.dataclass) for _ in range(5)) < min(cost(dataclasses.dataclass) for _ in range(5)) / 2


def test_no_command_imports_a_costly_one() -> None:
    # The feeder is a process of its own, which starts once.
    modules = (path for path in (ROOT / "bridge").rglob("*.py") if "feeder" not in path.parts)
    texts = {path: path.read_text() for path in modules}
    costly = [path for path, text in texts.items() if STANDARD.search(text) and SLOTTED.search(text)]
    assert costly == []
