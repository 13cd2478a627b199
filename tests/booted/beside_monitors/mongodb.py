"""Documents of MongoDB that both the Emperor and the bridge are given."""

from __future__ import annotations

from datetime import UTC, datetime

from .model import (
    IDLE,
    LONG,
    MONGO_PORT,
    MOVED,
    NEVER,
    OWN,
    RUNS,
    SOCKET,
    UP,
    Case,
    Delete,
    Event,
    Imperial,
    Kill,
    Put,
    Server,
    Step,
    World,
    Write,
    config,
    ts,
)


def date(seconds: float) -> datetime:
    """Return a time as MongoDB has it."""
    return datetime.fromtimestamp(ts(seconds), UTC)


def put(mark: str = "one", *lines: str, table: str = "vassals", seconds: float = 0, **more: object) -> Put:
    """Put a document of the case into a collection; what is None is left out."""
    document = {"name": "NAME.ini", "config": config(mark, *lines), "ts": date(seconds), "socket": SOCKET, "enabled": 1}
    return Put(
        table=f"uwsgi.{table}", row={key: value for key, value in {**document, **more}.items() if value is not None}
    )


CASES = (
    Case(
        name="mongodb-plain",
        steps=(
            Step((put(),), {"state": "waits", "path": "there", "answer": "one"}),
            Step((Delete(table="uwsgi.vassals"),), {"state": "none", "path": "gone", "answer": "no path"}),
        ),
    ),
    Case(
        name="mongodb-reload",
        steps=(Step((put(),), UP), Step((put("two", seconds=1),), {"answer": "two", "process": "reloaded"})),
    ),
    Case(
        name="mongodb-newer",
        steps=(Step((put(),), UP), Step((put(seconds=1),), {"answer": "one", "process": "reloaded"})),
    ),
    Case(name="mongodb-textonly", steps=(Step((put(),), UP), Step((put("two"),), {"answer": "two"}))),
    Case(
        name="mongodb-back",
        steps=(Step((put(),), UP), Step((put(seconds=-5),), {"answer": "one", "process": "same"})),
    ),
    Case(
        name="mongodb-waiting",
        steps=(Step((put(),), {"state": "waits"}), Step((put("two", seconds=1),), {"state": "waits", "answer": "two"})),
    ),
    *(
        Case(
            name=f"mongodb-{name}",
            steps=(
                Step((put(ts=before),), UP),
                Step((put(ts=after),), {"answer": "one", "process": "reloaded"}),
            ),
        )
        for name, before, after in (
            ("intts", int(ts(0)), int(ts(5))),
            ("textts", "2026-01-01T00:00:00", "2026-01-02T00:00:00"),
        )
    ),
    Case(
        name="mongodb-moved",
        steps=(
            Step((put(),), UP),
            Step((put("two", seconds=1, socket=MOVED),), {"answer": "no path", "moved": "two"}),
        ),
    ),
    Case(
        name="mongodb-nosocket",
        steps=(
            Step((put("one", f"socket = {MOVED}", socket=None),), {"state": "runs", "moved": "one"}),
            Step((put("two", seconds=1),), {"state": "waits", "answer": "two"}),
        ),
    ),
    Case(
        name="mongodb-gains",
        steps=(
            Step((put(),), UP),
            Step((put("two", f"socket = {MOVED}", seconds=1, socket=None),), {"state": "runs", "moved": "two"}),
        ),
    ),
    Case(name="mongodb-emptysocket", steps=(Step((put("one", OWN, socket=""),), RUNS),)),
    Case(
        name="mongodb-file",
        steps=(
            Step((Write("NAME.ini", config("one")), put(config=None)), UP),
            Step((put("two", seconds=1),), {"answer": "two"}),
        ),
    ),
    Case(
        name="mongodb-noext",
        vassal="NAME",
        logs=("mongodb-noext", "mongodb-noext.*row-name"),
        steps=(Step((put(name="NAME"),), NEVER),),
    ),
    Case(name="mongodb-disabled", steps=(Step((put(enabled=0),), {"state": "none"}), Step((put(),), UP))),
    Case(name="mongodb-idle", steps=(Step((put("one", *IDLE),), UP), Step((), UP))),
    Case(name="mongodb-killed", steps=(Step((put(),), UP), Step((Kill(),), {"answer": "one", "process": "other"}))),
    Case(
        name="mongodb-long",
        logs=("too (long|big)", r"mongodb-long\.ini.*row-long"),
        steps=(Step((put("one", *LONG, "env = MARK=two"),), {"answer": "two", "log": "told"}),),
    ),
    Case(name="mongodb-magic", steps=(Step((put("%n-%s-%e"),), {"answer": "mongodb-magic-mongodb-magic.ini-ini"}),)),
    Case(
        name="mongodb-duplicate",
        logs=("several rows|same name|twice", r"mongodb-duplicate\.ini.*row-duplicate"),
        steps=(
            Step(
                (put(), Put(table="uwsgi.vassals", row=put("two", seconds=1, socket=MOVED).row, adds=True)),
                {"state": "waits", "answer": "two", "moved": "no path", "log": "told"},
            ),
        ),
    ),
    Case(name="mongodb-second", steps=(Step((put(table="second"),), UP),)),
    Case(
        name="mongodb-keys",
        logs=(r"ERROR\(.*uwsgi\.keys", "nothing is ever told"),
        steps=(Step((put(table="keys", uid=0),), {**UP, "log": "silent"}),),
    ),
    Case(
        name="mongodb-noname",
        logs=("no name", "the document .* has no name"),
        steps=(
            Step(
                (Put(table="uwsgi.vassals", row=put(name=None).row, adds=True),),
                {"state": "none", "answer": "no path", "log": "told"},
            ),
        ),
    ),
    Case(
        name="mongodb-badjson",
        logs=("emperor-mongodb", "filter is not JSON"),
        steps=(Step((put(table="bad"),), {"state": "none", "log": "told"}),),
    ),
    Case(
        name="mongodb-downwaits",
        start=2,
        logs=("emperor-mongodb", "cannot be asked since"),
        steps=(Step((put(),), {"state": "waits"}), Step((), {"answer": "one", "log": "told"})),
        last={"answer": "one"},
    ),
    Case(
        name="mongodb-downidle",
        start=2,
        steps=(Step((put("one", *IDLE),), UP), Step((), UP)),
        last=UP,
    ),
    Case(name="mongodb-downback", start=4, steps=(Step((put(),), UP),)),
)
"""The server is stopped in round 3, and back in round 4; it is down when the Emperor and the daemon start again."""

MONGODB_WORLD = World(
    name="mongodb",
    emperors=(
        Imperial(
            name="mongodb",
            plugins=("emperor_mongodb",),
            monitors=(
                f"mongodb2://addr=127.0.0.1:{MONGO_PORT},coll=uwsgi.second,json={{enabled:1}}",
                f"mongodb2://addr=127.0.0.1:{MONGO_PORT},coll=uwsgi.keys,json={{enabled:1,uid:0}}",
                f"mongodb://127.0.0.1:{MONGO_PORT},uwsgi.bad,{{enabled:",
                f"mongodb://127.0.0.1:{MONGO_PORT},uwsgi.vassals,{{enabled:1}}",
            ),
        ),
    ),
    cases=CASES,
    beacon=(put(),),
    events={
        3: Event(
            acts=(Server("mongodb", "stop"),),
            logs=("emperor-mongodb", "vassals.*cannot be asked since"),
            beacon=(),
        ),
        4: Event(acts=(Server("mongodb", "start"),)),
    },
)
