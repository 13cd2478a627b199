from __future__ import annotations

from bridge.reconcile.run import Scope


def test_the_scope_of_all() -> None:
    scope = Scope.all()
    assert scope == Scope()
    assert (scope.is_all, scope.keys) == (True, None)
    # No key stands for what concerns all vassals.
    assert scope.covers("dir:///v:a.ini")
    assert scope.covers(None)


def test_the_scope_of_some() -> None:
    scope = Scope.of(["dir:///v:a.ini", "dir:///v:b.ini", "dir:///v:a.ini"])
    assert (scope.is_all, scope.keys) == (False, frozenset({"dir:///v:a.ini", "dir:///v:b.ini"}))
    assert scope.covers("dir:///v:a.ini")
    assert not scope.covers("dir:///v:c.ini")
    assert not scope.covers(None)


def test_the_scope_of_none_is_not_that_of_all() -> None:
    scope = Scope.of(())
    assert (scope.is_all, scope.keys) == (False, frozenset())
    assert not scope.covers("dir:///v:a.ini")
    assert scope != Scope.all()
