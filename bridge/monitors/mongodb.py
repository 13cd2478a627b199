"""mongodb:// and mongodb2://: the documents of a MongoDB collection are vassals."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

from bridge.monitors.mirrored import MirroredMonitor
from bridge.monitors.spec import MonitorSpec, SpecError, SpecWarning, shown, without_password

_ADDRESS = "127.0.0.1:27017"
_COLLECTION = "uwsgi.emperor.vassals"
_EVERYTHING = "{}"
"""The Emperor's defaults (plugins/emperor_mongodb/plugin.cc): the collection is ``emperor.vassals`` of ``uwsgi``."""
_KEYS = ("addr", "coll", "json", "db", "username", "password", "predigest")
_SHOWN = frozenset({"addr", "coll"})
"""Those of which an id is made."""
_PAIR = re.compile(rf",(?=(?:{'|'.join(_KEYS)})=)")
_OWN = frozenset({"collection", "filter"})


class MongodbMonitor(MirroredMonitor):
    """Asks a MongoDB server, as the Emperor's emperor_mongodb."""

    @staticmethod
    def parse(text: str, *, hostname: str) -> MonitorSpec:
        """Read what follows ``mongodb://``; see :func:`parse_mongodb`."""
        del hostname
        return parse_mongodb(text)


class Mongodb2Monitor(MirroredMonitor):
    """The same, with a spec of named parts."""

    @staticmethod
    def parse(text: str, *, hostname: str) -> MonitorSpec:
        """Read what follows ``mongodb2://``; see :func:`parse_mongodb2`."""
        del hostname
        return parse_mongodb2(text)


def parse_mongodb(text: str) -> MonitorSpec:
    """Read the Emperor's ``ADDRESS,DB.COLLECTION,JSON``, each with a default, or a URI of MongoDB's own.

    A URI has an ``@``, a ``/`` or a ``?`` before any JSON. ``collection`` and ``filter`` are parameters of it.

    Raises:
        SpecError: it names no collection of a database.
    """
    if re.search(r"[@/?]", text.partition("{")[0]):
        return _parse_uri(text)
    address, _, rest = text.partition(",")
    collection, _, query = rest.partition(",")
    return _spec("mongodb://", f"mongodb://{address or _ADDRESS}/", collection, query)


def parse_mongodb2(text: str) -> MonitorSpec:
    """Read ``addr=…,coll=…,json=…,db=…,username=…,password=…,predigest=…``, of which each part may be missing.

    A comma ends a part only if another part follows, so a JSON may have commas. The Emperor would cut it there.

    Raises:
        SpecError: a part is unknown.
    """
    given: dict[str, str] = {}
    for part in _PAIR.split(text) if text else ():
        key, equals, value = part.partition("=")
        # A comma before another word ends no part: that word may be a password with a wrong name.
        if not equals or key not in _KEYS or (key in _SHOWN and "=" in value):
            raise SpecError("a part of it is not KEY=VALUE with a known key", f"the keys are {', '.join(_KEYS)}")
        given[key] = value
    source = f"?authSource={given['db']}" if given.get("db") else ""
    names = {"username": "user", "password": "password"}
    login = {name: given[key] for key, name in names.items() if given.get(key)}
    uri = f"mongodb://{given.get('addr') or _ADDRESS}/{source}"
    spec = _spec("mongodb2://", uri, given.get("coll", ""), given.get("json", ""))
    spec = replace(spec, options={**spec.options, **login}, has_password=spec.has_password or "password" in login)
    if given.get("predigest") not in {None, "", "0"}:
        warning = SpecWarning(
            "spec-predigest",
            "predigest has no effect: no server since MongoDB 4.0 takes such a password",
            "write the password itself, or better password-file",
        )
        return replace(spec, warnings=(warning,))
    return spec


def _parse_uri(text: str) -> MonitorSpec:
    rest, _, query = text.partition("?")
    hosts, _, database = rest.partition("/")
    words = parse_qsl(query, keep_blank_values=True)
    own = {key: given for key, given in words if key in _OWN}
    kept = urlencode([(key, given) for key, given in words if key not in _OWN])
    name = f"{unquote(database) or _COLLECTION.partition('.')[0]}.{own.get('collection') or 'emperor.vassals'}"
    uri = f"mongodb://{hosts}/{database}{'?' if kept else ''}{kept}"
    redacted, has_password = without_password(hosts, database)
    # What is shown has no password.
    shown_spec = _spec("mongodb://", f"mongodb://{redacted}/", name, own.get("filter", ""))
    return replace(shown_spec, options={**shown_spec.options, "uri": uri}, has_password=has_password)


def _spec(scheme: str, uri: str, collection: str, query: str) -> MonitorSpec:
    collection, query = collection or _COLLECTION, query.strip() or _EVERYTHING
    database, dot, documents = collection.partition(".")
    if not (database and dot and documents):
        raise SpecError("it names no collection of a database", "write DATABASE.COLLECTION")
    address, has_password = without_password(uri.removeprefix("mongodb://").partition("/")[0], "")
    suffix = "" if query == _EVERYTHING else f",{shown(query)}"
    options: dict[str, Any] = {"uri": uri, "database": database, "collection": documents, "filter": query}
    name = f"{scheme}{shown(address)},{shown(collection)}{suffix}"
    return MonitorSpec(scheme="mongodb", id=name, options=options, has_password=has_password)
