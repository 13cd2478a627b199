"""Messages of ZeroMQ that both the Emperor and the bridge are given."""

from __future__ import annotations

from .model import (
    IDLE,
    LONG,
    MOVED,
    OWN,
    RUN,
    RUNS,
    SOCKET,
    TAKEN_PORT,
    TOP,
    UP,
    Case,
    Event,
    Imperial,
    Send,
    Step,
    World,
    Write,
    config,
)


def touch(mark: str = "one", *lines: str, socket: str = SOCKET, name: str = "NAME.ini") -> tuple[str, ...]:
    """Return a message with all six parts."""
    return ("touch", name, config(mark, *lines), "0", "0", socket)


def send(*messages: tuple[str, ...]) -> tuple[Send]:
    """Return what sends these."""
    return (Send(messages),)


CASES = (
    Case(
        name="zmq-plain",
        steps=(
            Step(send(touch()), {"state": "waits", "path": "there", "answer": "one"}),
            Step(send(("destroy", "NAME.ini")), {"state": "none", "path": "gone", "answer": "no path"}),
            Step(send(touch("two")), {"state": "waits", "answer": "two"}),
        ),
        last={"state": "runs", "answer": "two"},
    ),
    Case(
        name="zmq-reload",
        steps=(Step(send(touch()), UP), Step(send(touch("two")), {"answer": "two", "process": "reloaded"})),
    ),
    Case(
        name="zmq-three",
        steps=(Step(send(("touch", "NAME.ini", config("one", OWN))), RUNS),),
        last=RUNS,
    ),
    Case(
        name="zmq-four",
        steps=(Step(send(("touch", "NAME.ini", config("one", OWN), "0")), RUNS),),
    ),
    Case(
        name="zmq-five",
        start=3,
        steps=(
            Step(
                send(("touch", "NAME.ini", config("one", OWN), "0", "0"), touch(name="NAMEnext.ini", socket=MOVED)),
                {"state": "runs", "answer": "one", "moved": "one", "touch": "gone"},
            ),
        ),
    ),
    Case(
        name="zmq-emptysocket",
        steps=(Step(send(touch("one", OWN, socket="")), RUNS),),
    ),
    Case(
        name="zmq-seven",
        logs=("bad message", "zmq-message"),
        steps=(
            Step(
                send((*touch(), "more"), touch(name="NAMEnext.ini", socket=MOVED)),
                {"state": "none", "answer": "no path", "moved": "one", "log": "told"},
            ),
        ),
    ),
    Case(
        name="zmq-unknown",
        logs=("unknown command|bad message|invalid", "zmq-message"),
        steps=(Step(send(("reload", "NAME.ini", config("one"))), {"state": "none", "log": "told"}),),
    ),
    Case(
        name="zmq-one",
        logs=("bad message|invalid", "zmq-message"),
        steps=(Step(send(("touch",)), {"state": "none", "log": "told"}),),
    ),
    Case(
        name="zmq-twice",
        steps=(
            Step(send(touch()), UP),
            Step(send(touch("two"), touch("three")), {"answer": "three"}),
        ),
    ),
    Case(
        name="zmq-gonetouched",
        steps=(
            Step(send(touch()), UP),
            Step(send(("destroy", "NAME.ini"), touch("two")), {"state": "runs", "answer": "two"}),
        ),
    ),
    Case(
        name="zmq-barealways",
        steps=(
            Step(send(("touch", "NAME.ini", config("one", OWN))), RUNS),
            Step(send(("touch", "NAME.ini")), {"answer": "one", "process": "reloaded"}),
        ),
    ),
    Case(
        name="zmq-bare",
        steps=(Step(send(touch()), UP), Step(send(("touch", "NAME.ini")), {"answer": "one", "process": "reloaded"})),
    ),
    Case(
        name="zmq-file",
        steps=(
            Step(
                (Write("NAME.ini", config("one", OWN)), *send(("touch", "NAME.ini"))),
                RUNS,
            ),
        ),
    ),
    Case(
        name="zmq-moved",
        steps=(Step(send(touch()), UP), Step(send(touch("two", socket=MOVED)), {"answer": "no path", "moved": "two"})),
    ),
    Case(
        name="zmq-noext",
        vassal="NAME",
        logs=("zmq-noext", "zmq-noext.*row-name"),
        steps=(Step(send(touch(name="NAME")), {"state": "none", "answer": "no path", "log": "told"}),),
    ),
    Case(name="zmq-idle", steps=(Step(send(touch("one", *IDLE)), UP), Step((), UP))),
    Case(
        name="zmq-long",
        steps=(Step(send(touch("one", *LONG, "env = MARK=two")), {"answer": "two"}),),
    ),
    Case(name="zmq-magic", steps=(Step(send(touch("%n-%s-%e")), {"answer": "zmq-magic-zmq-magic.ini-ini"}),)),
    Case(
        name="zmq-taken",
        emperor="taken",
        logs=("Address already in use", "taken|in use"),
        steps=(
            Step(
                (
                    Write(f"{TOP}/taken/NAME.ini.socket", SOCKET),
                    Write(f"{TOP}/taken/NAME.ini", config("one")),
                ),
                {"answer": "one", "log": "told"},
            ),
        ),
    ),
)

ZMQ_WORLD = World(
    name="zmq",
    emperors=(
        Imperial(name="zmq", plugins=("emperor_zeromq",), monitors=(f"zmq://ipc://{RUN}/bus/zmq",)),
        Imperial(
            name="taken",
            plugins=("emperor_zeromq",),
            monitors=(f"dir://{TOP}/taken", f"zmq://tcp://127.0.0.1:{TAKEN_PORT}"),
        ),
    ),
    cases=CASES,
    beacon=send(touch()),
    # The Emperor takes the missing part from whatever message comes next.
    events={3: Event(acts=(), beacon=())},
)
