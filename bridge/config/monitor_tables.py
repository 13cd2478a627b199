"""The ``[[monitor]]`` tables of a bridge.toml: monitors with a name, a user and a secret of their own. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from bridge.diagnostics import Diagnostic, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE = "monitor"
_CLIENT_KEYS = "curve-client-keys"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_CREDENTIAL = re.compile(r"[A-Za-z0-9_.-]{1,255}")


@dataclass(frozen=True, kw_only=True, slots=True)
class MonitorTable:
    """One monitor as a table has it, or as a bare spec makes it."""

    spec: str
    name: str = ""
    """What its folder and its unit are called. Empty: they get a name from the spec."""
    user: str = ""
    """As whom its process runs. Empty: as the setting ``uid`` says, else as a user of its own."""
    password_file: str = ""
    """A file with its secret, which root reads."""
    credential: str = ""
    """The name of a systemd credential of the daemon's with its secret (systemd.exec(5), ``LoadCredential=``)."""
    curve_client_keys: str = ""
    """For zmq, a file with the public keys of those who may send. Empty: all may who know this side's public key."""


_KEYS = {one.name.replace("_", "-"): one.name for one in fields(MonitorTable)}


def read_tables(path: str, given: object) -> tuple[tuple[MonitorTable, ...], tuple[Diagnostic, ...]]:
    """Return the monitors of all ``[[monitor]]`` tables, and what is wrong with them."""
    if not isinstance(given, list) or not all(isinstance(table, dict) for table in given):
        return (), (_bad(path, "monitor must be a table", "write [[monitor]], and its keys below"),)
    tables: list[MonitorTable] = []
    problems: list[Diagnostic] = []
    for number, table in enumerate(given, 1):
        if wrong := tuple(_find_problems(path, table, number)):
            problems += wrong
            continue
        new = MonitorTable(**{_KEYS[key]: text for key, text in table.items()})
        if any(new.name == one.name for one in tables):
            problems.append(_bad(path, f"two monitors have the name {new.name!r}", "make it unique"))
        tables.append(new)
    return tuple(tables), tuple(problems)


def _find_problems(path: str, table: dict[str, object], number: int) -> Iterator[Diagnostic]:
    which = f"the {number}. [[monitor]]"
    for key, given in table.items():
        if key not in _KEYS:
            yield _bad(path, f"{which} has an unknown key {printable(key[:40])!r}", f"there are {', '.join(_KEYS)}")
        elif not isinstance(given, str) or not given:
            yield _bad(path, f"{key} of {which} must be text", f'write {key} = "…"')
    name, credential = str(table.get("name", "")), str(table.get("credential", ""))
    if not _NAME.fullmatch(name):
        yield _bad(path, f"{which} has no name that a unit can have", "use up to 63 letters, digits, - and _")
    if "spec" not in table:
        yield _bad(path, f"{which} does not say what to ask", 'write spec = "pg://…"')
    if credential and not _CREDENTIAL.fullmatch(credential):
        yield _bad(path, f"credential of {which} is no name of a credential", "use letters, digits, - _ and .")
    if credential and table.get("password-file"):
        yield _bad(path, f"{which} has a password-file and a credential", "leave one of them out")
    for key in ("password-file", _CLIENT_KEYS):
        if not str(table.get(key, "/")).startswith("/"):
            yield _bad(path, f"{key} of {which} is a relative path", "write the whole path")
    if _CLIENT_KEYS in table and not str(table.get("spec")).startswith("zmq://"):
        yield _bad(path, f"{which} has {_CLIENT_KEYS}, and is no zmq://", "leave it out")
    elif _CLIENT_KEYS in table and not (credential or table.get("password-file")):
        yield _bad(path, f"{which} has {_CLIENT_KEYS}, and no key of its own", "give it one by password-file")


def _bad(path: str, message: str, hint: str) -> Diagnostic:
    return Diagnostic(code="settings", path=path, message=message, hint=hint)
