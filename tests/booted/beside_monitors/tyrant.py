"""Rows and messages with owners, under emperor-tyrant."""

from __future__ import annotations

from typing import Any

from . import mongodb, pg
from .model import (
    AMQP_PORT,
    MONGO_PORT,
    NEVER,
    PG,
    RUN,
    SOCKET,
    Case,
    Event,
    Imperial,
    Publish,
    Put,
    Send,
    Server,
    Stage,
    Step,
    World,
    config,
)

OWNER = ("mark", "uid", "gid")
OWN = f"socket = {RUN}/own/NAME.sock"
WEB: dict[str, Any] = {"uid": 33, "gid": 33}
DAEMON: dict[str, Any] = {"uid": 1, "gid": 1}
AS_WEB = {"state": "waits", "answer": "one 33 33"}
AS_DAEMON = {"answer": "one 1 1", "process": "other"}
INVALID = "invalid permissions"


def refused(name: str, acts: tuple[Put | Send | Publish, ...], says: str = INVALID) -> Case:
    """Return a case that neither takes."""
    return Case(name=name, logs=(says, f"{name}.*row-owner"), steps=(Step(acts, NEVER),))


def touch(*numbers: str, socket: str = SOCKET) -> tuple[Send]:
    """Return what sends a config with numbers of users, and the address if there are two."""
    return (Send((("touch", "NAME.ini", config("one"), *numbers, socket),)),)


def publish(**headers: str) -> tuple[Publish]:
    """Return what sends a config of a vassal that runs always."""
    return (Publish(key="NAME.ini", body=config("one", OWN), headers=headers),)


PG_CASES = (
    Case(
        name="pgt-owner",
        shows=OWNER,
        steps=(
            Step((pg.put(table="tyrant", **WEB),), AS_WEB),
            Step((pg.put(table="tyrant", **DAEMON),), AS_DAEMON),
        ),
    ),
    refused("pgt-null", (pg.put(table="tyrant"),)),
    refused("pgt-root", (pg.put(table="tyrant", uid=0, gid=0),)),
    refused("pgt-rootgroup", (pg.put(table="tyrant", uid=33, gid=0),)),
    refused("pgt-columns", (pg.always("vassals", ts="2026-01-01"),), "missing uid and gid"),
)
MONGODB_CASES = (
    Case(
        name="mongodbt-owner",
        shows=OWNER,
        steps=(
            Step((mongodb.put(table="tyrant", **WEB),), AS_WEB),
            Step((mongodb.put(table="tyrant", **DAEMON),), AS_DAEMON),
        ),
    ),
    Case(
        name="mongodbt-float",
        shows=OWNER,
        steps=(Step((mongodb.put(table="tyrant", uid=33.0, gid=33.0),), AS_WEB),),
    ),
    refused("mongodbt-missing", (mongodb.put(table="tyrant"),)),
    refused("mongodbt-negative", (mongodb.put(table="tyrant", uid=-33, gid=33),)),
)
ZMQ_CASES = (
    Case(
        name="zmqt-six",
        shows=OWNER,
        steps=(Step(touch("33", "33"), AS_WEB), Step(touch("1", "1"), AS_DAEMON)),
    ),
    refused("zmqt-four", (Send((("touch", "NAME.ini", config("one", OWN), "33"),)),)),
    Case(
        name="zmqt-five",
        start=2,
        shows=OWNER,
        steps=(
            Step(
                (Send((("touch", "NAME.ini", config("one", OWN), "33", "33"),)),),
                {"state": "runs", "moved": "one 33 33"},
            ),
        ),
    ),
)
AMQP_CASES = (
    Case(name="amqpt-owner", shows=OWNER, steps=(Step(publish(uid="33", gid="33"), {"moved": "one 33 33"}),)),
    refused("amqpt-none", publish()),
)

TYRANT_STAGE = Stage(
    name="tyrant",
    lines=("emperor-tyrant = true", f"tenant-socket-directory = {RUN}"),
    worlds=(
        World(
            name="pgt",
            emperors=(
                Imperial(
                    name="pgt",
                    plugins=("emperor_pg",),
                    monitors=(f"pg://{PG}", f"pg://{PG};SELECT {pg.COLUMNS} FROM tyrant"),
                ),
            ),
            cases=PG_CASES,
            beacon=(pg.put(table="tyrant", **WEB),),
        ),
        World(
            name="mongodbt",
            emperors=(
                Imperial(
                    name="mongodbt",
                    plugins=("emperor_mongodb",),
                    monitors=(f"mongodb://127.0.0.1:{MONGO_PORT},uwsgi.tyrant",),
                ),
            ),
            cases=MONGODB_CASES,
            beacon=(mongodb.put(table="tyrant", **WEB),),
        ),
        World(
            name="zmqt",
            emperors=(Imperial(name="zmqt", plugins=("emperor_zeromq",), monitors=(f"zmq://ipc://{RUN}/bus/zmq",)),),
            cases=ZMQ_CASES,
            beacon=touch("33", "33"),
            events={2: Event(acts=(), beacon=())},
        ),
        World(
            name="amqpt",
            emperors=(Imperial(name="amqpt", plugins=("emperor_amqp",), monitors=(f"amqp://127.0.0.1:{AMQP_PORT}",)),),
            cases=AMQP_CASES,
            beacon=publish(uid="33", gid="33"),
            prepare=(Server("amqp", "start"),),
            events={0: Event(acts=(), logs=("subscription done", ""), beacon=("bridge",))},
        ),
    ),
)
