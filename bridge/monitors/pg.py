"""pg://: the rows of a PostgreSQL query are vassals."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, urlencode

from bridge.monitors.mirrored import MirroredMonitor
from bridge.monitors.spec import MonitorSpec, SpecError, SpecWarning, shown, without_password

DEFAULT_QUERY = "SELECT name,config,EXTRACT(epoch FROM ts) FROM vassals"
"""What the Emperor asks if the spec has no query (plugins/emperor_pg/emperor_pg.c)."""
_URL = re.compile(r"(postgres(?:ql)?://)([^/?#]*)([^?#]*)(?:\?([^#]*))?(.*)", re.DOTALL)
"""RFC 3986, appendix B. ``urlsplit`` of Python 3.14 refuses libpq's several hosts if one is an IPv6 address."""
_SECRET = re.compile(r"pass?w|pwd|secret", re.IGNORECASE)
"""What is in the names of libpq's words for secrets, and in some that people take for them."""
_WORD = re.compile(r"\s*([A-Za-z_]+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)*)", re.DOTALL)
_QUOTED_HINT = "give the password by password-file, for the first ';' ends the connection's options"


class PgMonitor(MirroredMonitor):
    """Asks a PostgreSQL server, as the Emperor's emperor_pg."""

    @staticmethod
    def parse(text: str, *, hostname: str) -> MonitorSpec:
        """Read what follows ``pg://``; see :func:`parse_pg`."""
        del hostname
        return parse_pg(text)


def parse_pg(text: str) -> MonitorSpec:
    """Read ``CONNINFO[;QUERY]``, cut at the first ``;`` as the Emperor does.

    Raises:
        SpecError: CONNINFO is not what libpq takes.
    """
    conninfo, semicolon, query = text.partition(";")
    warnings = []
    if semicolon and not query.strip():
        warnings.append(
            SpecWarning("spec-query", "it ends with ';', and the Emperor asks nothing then", "remove the ';'")
        )
    query = query.strip() or DEFAULT_QUERY
    conninfo = conninfo.strip()
    url = _URL.fullmatch(conninfo)
    redacted, has_password = _redact_words(conninfo) if url is None else _redact_url(*url.groups(default=""))
    suffix = "" if query == DEFAULT_QUERY else f";{shown(query)}"
    options: dict[str, Any] = {"conninfo": conninfo, "query": query}
    return MonitorSpec(
        scheme="pg",
        id=f"pg://{redacted}{suffix}",
        options=options,
        has_password=has_password,
        warnings=tuple(warnings),
    )


def _redact_words(conninfo: str) -> tuple[str, bool]:
    """Return ``key=value …`` without secrets (libpq, "Keyword/Value Connection Strings")."""
    kept, at, has_password = [], 0, False
    while at < len(conninfo):
        found = _WORD.match(conninfo, at)
        if found is None:
            if not conninfo[at:].strip():
                break
            raise SpecError("its connection options are not KEY=VALUE …, or a quote is not closed", _QUOTED_HINT)
        if _SECRET.search(found[1]):
            has_password = True
        else:
            kept.append(f"{found[1]}={found[2]}")
        at = found.end()
        if at < len(conninfo) and not conninfo[at].isspace():
            raise SpecError("its connection options are not KEY=VALUE …, or a quote is not closed", _QUOTED_HINT)
    return shown(" ".join(kept)), has_password


def _redact_url(scheme: str, netloc: str, path: str, query: str, fragment: str) -> tuple[str, bool]:
    """Return ``postgresql://…`` without secrets (libpq, "Connection URIs")."""
    # An "@" there may be that of a login whose password has a "?". Without one before, it must be written as %40.
    rest = path + fragment + ("" if "@" in netloc else query)
    netloc, has_password = without_password(netloc, rest)
    if not all("=" in word for word in filter(None, query.split("&"))):
        # It may be the end of a password, after a "?" in it.
        raise SpecError("what follows the '?' of its URL is not KEY=VALUE", "write special characters as %XX")
    words = parse_qsl(query, keep_blank_values=True)
    kept = [(key, given) for key, given in words if not _SECRET.search(key)]
    url = f"{scheme}{netloc}{path}{'?' if kept else ''}{urlencode(kept)}{fragment}"
    return shown(url), has_password or len(kept) < len(words)
