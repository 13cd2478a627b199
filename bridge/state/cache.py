"""The roll: what the last run found of each vassal, so that the next need look only at those that changed.

Pure. Whoever is not looked at again has what the roll says: a name and addresses that nobody else may take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bridge.model.address import collision_key, parse_address
from bridge.model.unit import InstalledVassal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from bridge.model.address import Address


class CachedVassal(NamedTuple):
    """What is known of one config."""

    name: str = ""
    """What it is called."""
    label: str = ""
    """The NAME of its units; empty: it can have none."""
    keys: tuple[str, ...] = ()
    """What its addresses, the one it has and the one it wants, might collide in (:func:`collision_key`)."""
    waits: str = ""
    """The address it waits on; empty: it runs always."""
    is_served: bool = False
    """Whether it has units, of this config or an earlier one."""
    files: tuple[str, ...] = ()
    """What it was made from. Empty: all was not well with it, so it is looked at each time."""
    made: tuple[str, ...] = ()
    """What was made of it: its units, the link that starts it, its socket."""


class VassalCache:
    """All vassals by their configs."""

    def __init__(self, records: Mapping[str, CachedVassal]) -> None:
        self.records = dict(records)
        self.served = sum(record.is_served for record in records.values())
        """How many vassals have units."""
        self.included: set[str] = set()
        """The names, without their folders, of files that configs include or ask about."""
        self._labels: dict[str, tuple[str, ...]] = {}
        self._keys: dict[str, tuple[str, ...]] = {}
        for config, record in self.records.items():
            self._enter(config, record)

    def replace(self, configs: Iterable[str], records: Mapping[str, CachedVassal]) -> None:
        """Forget these configs, and take down what was found of them now."""
        for config in configs:
            if (old := self.records.pop(config, None)) is not None:
                self.served -= old.is_served
                _leave(self._labels, old.label, config)
                for key in old.keys:
                    _leave(self._keys, key, config)
        for config, record in records.items():
            self.records[config] = record
            self.served += record.is_served
            self._enter(config, record)

    def rivals(self, labels: Iterable[str], addresses: Iterable[Address], but: Collection[str]) -> bool:
        """Tell whether any config ``but`` these has or wants such a name, or an address like one of these."""
        claims = [self._labels.get(label, ()) for label in labels]
        claims += [self._keys.get(collision_key(address), ()) for address in addresses]
        return any(config not in but for configs in claims for config in configs)

    def installed(self, but: Collection[str]) -> dict[str, InstalledVassal]:
        """Return the vassals that have units, by label, of all configs ``but`` these."""
        found = {}
        for config, record in self.records.items():
            if record.is_served and config not in but:
                address = parse_address(record.waits, base="/") if record.waits else None
                found[record.label] = InstalledVassal(
                    label=record.label,
                    name=record.name,
                    config=config,
                    monitor="",
                    address=address,
                    canonical_address=address,
                    units=(),
                )
        return found

    def labels_of(self, configs: Iterable[str]) -> set[str]:
        """Return the names of the units that these configs have or want."""
        return {record.label for config in configs if (record := self.records.get(config)) and record.label}

    def slim(self) -> None:
        """Forget the files: who sees every change need not compare them."""
        for config, record in self.records.items():
            self.records[config] = record._replace(files=(), made=())

    def _enter(self, config: str, record: CachedVassal) -> None:
        self.included.update(path.rpartition("/")[2] for path in record.files if not path.startswith(config))
        if record.label:
            self._labels[record.label] = (*self._labels.get(record.label, ()), config)
        for key in record.keys:
            self._keys[key] = (*self._keys.get(key, ()), config)


def _leave(claims: dict[str, tuple[str, ...]], claim: str, config: str) -> None:
    if left := tuple(other for other in claims.pop(claim, ()) if other != config):
        claims[claim] = left
