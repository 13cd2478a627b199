"""Messages of RabbitMQ that both the Emperor and the bridge are given."""

from __future__ import annotations

from .model import (
    AMQP_PORT,
    LONG,
    MUTE_PORT,
    OWN,
    RUN,
    RUNS,
    SOCKET,
    TOP,
    UP,
    Case,
    Event,
    Imperial,
    Kill,
    Publish,
    Remove,
    Restart,
    Server,
    Step,
    World,
    Write,
    config,
)

LOGIN, PASSWORD = "bridge", "sesame-of-the-broker"
OWN_VHOSTS = ("fleet", "other", "noport")
"""Those that only the bridge knows."""
FILE = f"{TOP}/paths/NAME.ini"
NEIGHBOURS = f"{TOP}/neighbours"
"""A folder that the Emperor watches as well."""
OLD, NEW, AGAIN, CRASH, EMPTY, BROKEN = 0, 2, 6, 8, 10, 12
"""Rounds: with a broker as it is installed, with one that the Emperor can talk to, and after the Emperor's ends."""


def text(mark: str = "one", *lines: str, vhosts: tuple[str, ...] = ("/",), **headers: str) -> tuple[Publish]:
    """Return what sends the text of a config under its name."""
    return (Publish(key="NAME.ini", body=config(mark, OWN, *lines), headers=headers, vhosts=vhosts),)


def path(body: str = FILE) -> Publish:
    """Return what sends the path of a config."""
    return Publish(body=body)


def spec(name: str, vhost: str, **then: str) -> Case:
    """Return a case for an Emperor with a spec of its own, to whom a message is sent through this vhost."""
    logs = ("unable to connect to AMQP server", "nothing is ever told")
    steps = (Step(text(vhosts=(vhost,)), {**RUNS, **then}),)
    return Case(name=f"amqp-{name}", emperor=name, start=NEW, logs=logs, steps=steps)


CASES = (
    Case(
        name="amqp-default",
        start=OLD,
        logs=("waiting for Connection.open-ok", "nothing is ever told"),
        steps=(Step(text(), {**RUNS, "log": "silent"}),),
    ),
    Case(
        name="amqp-durable",
        start=OLD + 1,
        logs=("waiting for Exchange.declare-ok", "nothing is ever told"),
        steps=(Step(text(), {**RUNS, "log": "silent"}),),
    ),
    spec("login", "fleet", log="silent"),
    spec("vhost", "other"),
    spec("noport", "noport", log="silent"),
    Case(name="amqp-vhostslash", emperor="vhost", start=NEW, steps=(Step(text(), RUNS),)),
    Case(
        name="amqp-mute",
        emperor="mute-amqp",
        start=OLD,
        steps=(
            Step(
                (Write(f"{TOP}/mute-amqp/NAME.ini.socket", SOCKET), Write(f"{TOP}/mute-amqp/NAME.ini", config("one"))),
                {"path": "there", "answer": "one"},
            ),
        ),
    ),
    Case(name="amqp-text", start=NEW, steps=(Step(text(), RUNS),), last=RUNS),
    Case(
        name="amqp-noext",
        vassal="NAME",
        start=BROKEN,
        logs=("amqp-noext.*invalid", "amqp-noext.*row-name"),
        steps=(Step((Publish(key="NAME", body=config("one", OWN)),), {"answer": "no path", "log": "told"}),),
    ),
    Case(
        name="amqp-path",
        vassal=FILE,
        start=NEW,
        steps=(
            Step((Write(FILE, config("one", OWN)), path()), RUNS),
            Step((Write(FILE, config("two", OWN)),), {"state": "runs", "answer": "two"}),
            Step((path(),), {"state": "runs", "answer": "two"}),
            Step((Remove(FILE),), {"state": "none"}),
        ),
    ),
    Case(
        name="amqp-pathgone",
        vassal=FILE,
        start=NEW,
        steps=(
            Step((Write(FILE, config("one", OWN)), path()), RUNS),
            Step((Remove(FILE), path()), {"state": "none"}),
        ),
    ),
    Case(
        name="amqp-pathnoext",
        vassal=f"{TOP}/paths/NAME",
        start=BROKEN - 1,
        logs=("nothing is ever told", "amqp-pathnoext.*row-name"),
        steps=(
            Step(
                (Write(f"{TOP}/paths/NAME", config("one", OWN)), path(f"{TOP}/paths/NAME")),
                {"answer": "no path", "log": "told"},
            ),
        ),
    ),
    Case(
        name="amqp-nothing",
        vassal=FILE,
        start=NEW,
        logs=("amqp-nothing", "amqp-nothing"),
        steps=(Step((path(),), {"state": "none", "log": "told"}),),
    ),
    Case(
        name="amqp-directory",
        vassal=f"{TOP}/paths/NAME.ini",
        start=NEW,
        logs=("amqp-directory", "amqp-directory"),
        steps=(Step((Write(f"{FILE}/inner", ""), path()), {"state": "none", "log": "told"}),),
    ),
    Case(
        name="amqp-nobody",
        start=NEW,
        steps=(Step((Publish(key="NAME.ini", body=""),), {"state": "none"}),),
    ),
    Case(
        name="amqp-url",
        start=BROKEN - 1,
        logs=("127.0.0.1:5997", "amqp-url"),
        steps=(Step((path("http://127.0.0.1:5997/NAME.ini"),), {"answer": "no path", "log": "told"}),),
    ),
    Case(
        name="amqp-socket",
        start=NEW,
        steps=(
            Step(
                (
                    Publish(
                        key="NAME.ini",
                        body=config("one", f"socket = {RUN}/own/NAME.sock"),
                        headers={"socket": SOCKET},
                    ),
                ),
                UP,
            ),
        ),
    ),
    Case(
        name="amqp-owner",
        start=NEW,
        shows=("mark", "uid", "gid"),
        steps=(Step(text(uid="33", gid="33"), {"answer": "one 0 0"}),),
    ),
    Case(
        name="amqp-long",
        start=NEW,
        steps=(Step(text("one", *LONG, "env = MARK=two"), {"state": "runs", "answer": "two"}),),
    ),
    Case(name="amqp-magic", start=NEW, steps=(Step(text("%n-%s-%e"), {"answer": "amqp-magic-amqp-magic.ini-ini"}),)),
    Case(
        name="amqp-stays",
        start=NEW + 2,
        steps=(
            Step(text(), RUNS),
            Step((), {"answer": "one", "process": "same"}),
            Step((), {"state": "runs"}),
        ),
    ),
    Case(name="amqp-after", start=NEW + 3, steps=(Step(text(), RUNS),)),
    Case(
        name="amqp-again",
        start=AGAIN - 1,
        steps=(Step(text(), RUNS), Step(text("two"), {"state": "runs", "answer": "two"})),
    ),
    Case(
        name="amqp-crash",
        start=CRASH - 1,
        steps=(Step(text(), RUNS), Step((Kill(),), RUNS)),
    ),
    Case(
        name="amqp-emptied",
        start=EMPTY - 1,
        steps=(Step(text(), RUNS), Step((Publish(key="NAME.ini", body=""),), {"state": "none"})),
    ),
    Case(
        name="amqp-neighbour",
        start=EMPTY - 1,
        steps=(
            Step((Write(f"{NEIGHBOURS}/NAME.ini.socket", SOCKET), Write(f"{NEIGHBOURS}/NAME.ini", config("one"))), UP),
            Step((), {"state": "runs", "answer": "one"}),
        ),
    ),
    Case(name="amqp-bystander", start=EMPTY - 1, steps=(Step(text(), RUNS), Step((), {"state": "runs"}))),
)

ENDS = Event(acts=(), beacon=("bridge",))
"""A round in which the Emperor ends."""
ANEW = Event(acts=(Restart(),))

AMQP_WORLD = World(
    name="amqp",
    emperors=(
        Imperial(
            name="amqp",
            plugins=("emperor_amqp",),
            monitors=(f"amqp://127.0.0.1:{AMQP_PORT}", f"dir://{NEIGHBOURS}"),
        ),
        Imperial(
            name="login",
            plugins=("emperor_amqp",),
            monitors=(f"amqp://{LOGIN}:{PASSWORD}@127.0.0.1:{AMQP_PORT}/fleet",),
        ),
        Imperial(name="vhost", plugins=("emperor_amqp",), monitors=(f"amqp://127.0.0.1:{AMQP_PORT}/other",)),
        Imperial(name="noport", plugins=("emperor_amqp",), monitors=("amqp://127.0.0.1/noport",)),
        Imperial(
            name="mute-amqp",
            plugins=("emperor_amqp",),
            monitors=(f"dir://{TOP}/mute-amqp", f"amqp://127.0.0.1:{MUTE_PORT}"),
        ),
    ),
    cases=CASES,
    prepare=(Server("amqp", "start new"),),
    beacon=tuple(
        Publish(key=f"NAME{vhost}.ini", body=config("one", OWN), vhosts=(vhost or "/",)) for vhost in ("", *OWN_VHOSTS)
    ),
    beacons=("NAME.ini", *(f"NAME{vhost}.ini" for vhost in OWN_VHOSTS)),
    events={
        OLD: Event(acts=(), beacon=("bridge",)),
        OLD + 1: Event(acts=(Server("amqp", "lift limit"),), logs=("Exchange.declare-ok", ""), beacon=("bridge",)),
        NEW: Event(acts=(Server("amqp", "start"),)),
        NEW + 3: Event(acts=(Server("amqp", "restart"),)),
        AGAIN: ENDS,
        AGAIN + 1: ANEW,
        CRASH: ENDS,
        CRASH + 1: ANEW,
        EMPTY: ENDS,
        EMPTY + 1: ANEW,
        BROKEN: ENDS,
    },
)
