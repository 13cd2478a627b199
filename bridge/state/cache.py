"""The cache of the last run's results. Vassals outside a run's scope keep their cached names and addresses.

Pure. The units on disk are the state; a lost cache only makes the next run process every vassal.
"""

from __future__ import annotations

import marshal
from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from bridge.model.address import collision_key, is_fragile, parse_address
from bridge.model.unit import InstalledVassal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from bridge.model.address import Address


class CachedVassal(NamedTuple):
    """What the last run found of one vassal."""

    name: str = ""
    config: str = ""
    """The path of its config."""
    monitor: str = ""
    label: str = ""
    """The LABEL of its units. Empty: it can have none."""
    collision_keys: tuple[str, ...] = ()
    """What its addresses, the present and the desired one, might collide in (:func:`collision_key`)."""
    addresses: tuple[str, ...] = ()
    """The addresses it waits on. Empty: it runs always."""
    tenant: int | None = None
    is_served: bool = False
    """Whether it has units, of this config or an earlier one."""
    is_clean: bool = False
    """Whether there was no problem with it, and nothing of it was down. Any other vassal is processed in every run."""
    inputs: tuple[str, ...] = ()
    """The files it was made from."""
    outputs: tuple[str, ...] = ()
    """What was made of it: its unit files, the link that starts it, its socket."""
    note: str = ""
    """The file of these that only the bridge writes: the note of its row, if it comes from one."""


class VassalCache:
    """The cached vassals by their keys."""

    def __init__(
        self, records: Mapping[str, CachedVassal], *, extension: str = "", others: Collection[str] = ()
    ) -> None:
        """``extension`` is that of the rule files in force, if there are any."""
        self.records = dict(records)
        self.others = frozenset(others)
        """Labels of the vassals of other configurations."""
        self._extension = extension
        self._served: Counter[tuple[str, int | None]] = Counter()
        self._labels: dict[str, tuple[str, ...]] = {}
        self._collisions: dict[str, tuple[str, ...]] = {}
        for key, record in self.records.items():
            self._enter(key, record)

    @cached_property
    def included(self) -> set[str]:
        """The names, without their folders, of files that configs include, link to or ask about."""
        return {name for record in self.records.values() for name in self._included_by(record)}

    def replace(self, keys: Iterable[str], records: Mapping[str, CachedVassal]) -> None:
        """Forget the vassals with these keys, and keep these records."""
        for key in {*keys, *records}:
            if (old := self.records.pop(key, None)) is not None:
                self._served[old.monitor, old.tenant] -= old.is_served
                _leave(self._labels, old.label, key)
                for collision in old.collision_keys:
                    _leave(self._collisions, collision, key)
        for key, record in records.items():
            self.records[key] = record
            self._enter(key, record)

    def has_rivals(self, labels: Iterable[str], addresses: Iterable[Address], scope: Collection[str]) -> bool:
        """Tell whether a vassal outside the scope has or wants such a label, or an address like one of these."""
        claims = [self._labels.get(label, ()) for label in labels]
        claims += [self._collisions.get(collision_key(address), ()) for address in addresses]
        return any(key not in scope for keys in claims for key in keys)

    def with_rivals(self, keys: Collection[str]) -> frozenset[str]:
        """Return these keys and those of all vassals that contend with them for a name or an address."""
        found: set[str] = set()
        todo = {*keys}
        seen: set[str] = set()
        while todo:
            found |= todo
            records = [record for key in todo if (record := self.records.get(key)) is not None]
            labels = {record.label for record in records}
            collisions = {collision for record in records for collision in record.collision_keys} - seen
            seen |= collisions
            claims = [self._labels.get(label, ()) for label in labels]
            claims += [self._collisions.get(collision, ()) for collision in collisions]
            todo = {key for claim in claims for key in claim} - found
        return frozenset(found)

    def installed(self, outside: Collection[str]) -> dict[str, InstalledVassal]:
        """Return the vassals that have units, by label, of all vassals outside these keys."""
        served = ((key, record) for key, record in self.records.items() if record.is_served)
        return {record.label: _installed(record) for key, record in served if key not in outside}

    def fragile(self, labels: Iterable[str]) -> dict[str, InstalledVassal]:
        """Return those of the vassals with units of these labels whose sockets a daemon-reload closes, by label."""
        keys = [key for label in labels for key in self._labels.get(label, ())]
        records = (record for key in keys if (record := self.records[key]).is_served and record.addresses)
        found = (_installed(record) for record in records)
        return {one.label: one for one in found if any(map(is_fragile, one.addresses))}

    def served(self, outside: Collection[str]) -> Counter[tuple[str, int | None]]:
        """Count the vassals that have units, outside these keys, by their monitors and tenants."""
        served = Counter(self._served)
        for key in outside:
            if record := self.records.get(key):
                served[record.monitor, record.tenant] -= record.is_served
        return served

    def labels_of(self, keys: Iterable[str]) -> set[str]:
        """Return the labels of the units that these vassals have or want."""
        return {record.label for key in keys if (record := self.records.get(key)) and record.label}

    def drop_files(self) -> None:
        """Forget inputs and outputs: whoever sees every change need not compare them.

        What is kept is copied. As a run has made it, it is strewn over all memory that the run took, and Python gives
        none of that back.
        """
        self.included  # noqa: B018 - the inputs say it
        kept = {key: tuple(record._replace(inputs=(), outputs=(), note="")) for key, record in self.records.items()}
        packed = marshal.dumps((kept, self._labels, self._collisions))
        del kept
        self.records, self._labels, self._collisions = {}, {}, {}
        copied, self._labels, self._collisions = marshal.loads(packed)  # noqa: S302 - packed above
        self.records = {key: CachedVassal._make(facts) for key, facts in copied.items()}

    def _included_by(self, record: CachedVassal) -> set[str]:
        own = {record.config, record.config + self._extension, record.note}
        return {path.rpartition("/")[2] for path in record.inputs if path not in own}

    def _enter(self, key: str, record: CachedVassal) -> None:
        self._served[record.monitor, record.tenant] += record.is_served
        if "included" in vars(self):  # Only the daemon asks for it.
            self.included |= self._included_by(record)
        if record.label:
            self._labels[record.label] = (*self._labels.get(record.label, ()), key)
        for collision in record.collision_keys:
            self._collisions[collision] = (*self._collisions.get(collision, ()), key)


def _installed(record: CachedVassal) -> InstalledVassal:
    addresses = tuple(parse_address(address, base="/") for address in record.addresses)
    return InstalledVassal(
        label=record.label,
        name=record.name,
        config=record.config,
        monitor=record.monitor,
        tenant=record.tenant,
        addresses=addresses,
        canonical_addresses=addresses,
        units=(),
    )


def _leave(claims: dict[str, tuple[str, ...]], claim: str, key: str) -> None:
    if left := tuple(other for other in claims.pop(claim, ()) if other != key):
        claims[claim] = left
