"""Replaces magic variables such as ``%h`` in the specs of a bridge.toml, as uWSGI does in an emperor.ini."""

from __future__ import annotations

import os

from bridge.uwsgi.magic_variables import Source, substitute, table

MIRRORED = ("pg", "mongodb", "mongodb2", "zmq", "amqp", "amqps")
"""The schemes of databases and brokers. What a folder or a pattern is called may have a ``%``."""


def expand(spec: str, path: str) -> str:
    """Return a spec with its magic variables replaced, if it is one of a database or a broker.

    ``path`` is the file that it stands in, which variables such as ``%d`` describe. ``%%`` is a percent sign.

    Raises:
        ConfigError: it becomes too long.
    """
    if spec.partition("://")[0] not in MIRRORED or "%" not in spec:
        return spec
    real = os.path.realpath(path)
    known = {"h": os.uname().nodename, "k": str(os.cpu_count() or 1)}
    values = table(Source(filename=path, real=real), known=known)
    return substitute(spec.encode("utf-8", "surrogateescape"), values, path=path).data.decode("utf-8", "replace")
