"""The files of one mirrored row: its note, and what tells one version of it from another."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NamedTuple

from bridge.host.users import user_id
from bridge.model.digest import blake2b

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.feeder.protocol import Row

_UID = re.compile(r"""(?<![\w-])uid["']?\s*[=:>]\s*["']?([A-Za-z0-9_.-]{1,32})""")
_READERS_MAX = 8
"""Users that one text can name, and be read by."""


class Version(NamedTuple):
    """What tells whether a row is as the mirror has it. There is one for each row, so it is small."""

    facts: int
    """A digest of the address and the owner."""
    text: int
    """A digest of the text, and of who may read it. 0: the row has none."""
    ts: float
    size: int
    """Bytes of the text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MirroredRow:
    """A row as its note has it. Its text is in a file of its own."""

    name: str
    ts: float = 0.0
    uid: int | None = None
    gid: int | None = None
    socket: str = ""
    has_rule: bool = True
    has_text: bool = True
    """Whether the mirror holds its config. False: the name is the path of one."""
    facts: int = 0
    text: int = 0
    size: int = 0

    @property
    def version(self) -> Version:
        """What tells this row from its other versions."""
        return Version(self.facts, self.text, self.ts, self.size)


_FIELDS = tuple(one.name for one in fields(MirroredRow))


def mirrored(row: Row, readers: Iterable[int]) -> MirroredRow:
    """Return what the note of a row holds; ``readers`` are the users who may read its text."""
    text = (row.config or "").encode()
    facts = _digest(repr((row.uid, row.gid, row.socket, row.has_rule, row.config is None)).encode())
    return MirroredRow(
        name=row.name,
        ts=row.ts,
        uid=row.uid,
        gid=row.gid,
        socket=row.socket,
        has_rule=row.has_rule,
        has_text=row.config is not None,
        facts=facts,
        text=0 if row.config is None else _digest(text, repr(sorted(readers)).encode()),
        size=len(text),
    )


def encode_row(row: MirroredRow) -> bytes:
    """Return a row's note."""
    # dataclasses.asdict copies every value, which takes longer than the JSON.
    return json.dumps({name: getattr(row, name) for name in _FIELDS}, separators=(",", ":")).encode()


def decode_row(raw: bytes) -> MirroredRow | None:
    """Return the row that a note holds; None if the note is damaged."""
    try:
        row = MirroredRow(**json.loads(raw))
    except (ValueError, TypeError):
        return None
    return row if isinstance(row.name, str) and isinstance(row.socket, str) else None


def named_users(text: str) -> list[int]:
    """Return the users that a config names as those it runs as, whatever its format.

    uWSGI reads its config again at a graceful reload, and by then it has become that user.
    """
    found = (user_id(name) for name in dict.fromkeys(_UID.findall(text)))
    return [uid for uid in found if uid][:_READERS_MAX]


def _digest(*parts: bytes) -> int:
    digest = blake2b(digest_size=8)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return int.from_bytes(digest.digest(), "little") or 1
