"""The file that keeps the cache from one run to the next, with a fingerprint of each vassal's files."""

from __future__ import annotations

import json
import os
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

from bridge.host.files import remove_if_there, write_all
from bridge.host.second_process import SecondProcess
from bridge.state import fingerprint
from bridge.state.cache import CachedVassal, VassalCache

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


_MANY = 1000
"""Vassals from which on half of the fingerprints are made in a process of their own."""


class CacheFile:
    """Reads and writes the cache. Whoever writes it holds the lock."""

    def __init__(self, path: str, basis: str) -> None:
        """``basis`` is a text that is another once anything has changed that every vassal depends on."""
        self._path = path
        self._basis = basis

    def read(self, *, extension: str) -> tuple[VassalCache, dict[str, int]] | None:
        """Return the cache and the fingerprint of each vassal's files, by key; None if it is not valid any more."""
        try:
            with open(self._path, encoding="utf-8", errors="surrogateescape") as file:
                noted = json.load(file)
            if noted["basis"] != self._basis:
                return None
            others = frozenset(map(str, noted["others"]))
            digests = {key: digest for key, (digest, *_) in noted["vassals"].items()}
            records = {key: _record(facts) for key, facts in noted["vassals"].items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None
        return VassalCache(records, extension=extension, others=others), digests

    def write(self, cache: VassalCache, began: int, in_scope: Callable[[str], bool], before: Mapping[str, int]) -> None:
        """Keep the cache for the next run.

        Args:
            cache: all vassals.
            began: when this run began (nanoseconds since the epoch). A file that changed since has no fingerprint.
            in_scope: tells, by a vassal's key, whether this run processed it.
            before: the fingerprints of the others.

        Raises:
            OSError: the file system refuses.
        """
        processed = {key: record for key, record in cache.records.items() if in_scope(key)}
        digests = {**before, **dict.fromkeys(processed, 0), **_digests(processed, began)}
        vassals = {key: (digests.get(key, 0), *record) for key, record in cache.records.items()}
        noted = {"basis": self._basis, "others": sorted(cache.others), "vassals": vassals}
        folder, name = os.path.split(self._path)
        write_all(folder, {name: json.dumps(noted)})

    def forget(self) -> None:
        """Have the next run process every vassal.

        Raises:
            OSError: the file system refuses.
        """
        remove_if_there(self._path)


def _digests(records: Mapping[str, CachedVassal], began: int) -> dict[str, int]:
    """Return the fingerprints of the clean ones among these, by key."""
    keys = [key for key, record in records.items() if record.is_clean]
    half = len(keys) // 2 if len(keys) >= _MANY else 0

    def digests(some: Sequence[str]) -> dict[str, int]:
        return {key: fingerprint.settled_digest(records[key].inputs, records[key].outputs, began) for key in some}

    with closing(SecondProcess(partial(digests, keys[:half]), is_worth_it=half > 0)) as process:
        return digests(keys[half:]) | process.result()


def _record(facts: Sequence[Any]) -> CachedVassal:
    """Return a record as it was written, after its fingerprint: JSON has lists for tuples."""
    (_, name, config, monitor, label, keys, addresses, tenant, is_served, is_clean, inputs, outputs, note) = facts
    return CachedVassal(
        name, config, monitor, label, tuple(keys), tuple(addresses), tenant, is_served, is_clean,
        tuple(inputs), tuple(outputs), note
    )  # fmt: skip
