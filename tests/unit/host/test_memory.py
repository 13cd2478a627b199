"""Copies that take little memory."""

from __future__ import annotations

from bridge.host.memory import copied, give_back


def test_a_copy_is_equal_and_shares_nothing() -> None:
    label = "".join(["a", "-label"])
    kept = {label: ("/run/\udcff.sock", frozenset({7}), {label}, None, 2**70)}
    copy = copied(kept)
    assert copy == kept
    assert copy is not kept
    assert next(iter(copy)) is not label


def test_what_is_free_is_given_back_wherever_the_c_library_can() -> None:
    give_back()
