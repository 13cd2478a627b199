"""Where the bridge differs from the real Emperor on the same rows and messages, and why that is better."""

from __future__ import annotations

from fnmatch import fnmatchcase

from tests.booted.beside import Difference

TEXT = "a changed text counts, whatever the time says: an admin who changes a row means it"
MOVED = "the Emperor takes the address once; here the vassal moves"
GONE = "the Emperor leaves a dead socket file behind; here clients find nothing, and the path is free"
ALWAYS = "the documentation says that a row without a socket runs always; the Emperor binds the empty path for ever"
NAMES = "a unit and a file need a name without this, and the message says so"
SILENT = "the Emperor passes it over in silence; here one message names it"
CUT = "the Emperor cuts a long text at its length modulo 65,536, without a word"
MAGIC = "the magic variables are empty for a text that comes through a pipe; here it is a file, and they say what it is"
EMPTY = "the Emperor runs it without a config, and it ends at each connection; here a message says that there is none"
MEMORY = "the Emperor knows its vassals in memory only; here they are on disk, and sites outlive the database"
SHAPE = "an answer of the wrong shape is no answer, so that nothing is removed"
GUARD = "more than half of ten vassals gone at once needs the word of an admin"
SECRET = "the Emperor shows its whole spec in its arguments and stats, and a URI in its log"  # noqa: S105
MUTE = "a server that says nothing stops the Emperor's only loop; here each monitor has a process of its own"
TIMES = "a number and a text of ISO 8601 are times too, as in the documentation's examples"
BARE = "without the sixth part the Emperor takes the address away, and the vassal ends; here it keeps what it has"
OTHERS = "the Emperor stops a vassal that is to be another user's, and waits for the next message; here it is started"
LOST = "messages are applied in their order, and none is lost"
FIVE = "five parts mean that there is no socket; the Emperor reads a part of the next message instead"
SEVEN = "a message of the wrong form is refused as a whole; the Emperor takes its end for another message"
TAKEN = "the Emperor ends; here the message says who is in the way, and the other vassals run"
SPEC = "user, password, vhost and the port's default are part of the spec; the Emperor reads host and port only"
BROKER = "a broker as it is installed today is one that the Emperor cannot talk to"
ABORT = "the Emperor uses freed memory and aborts, and all of its vassals end with it"
HEADERS = "the headers say what the columns of a table say; the Emperor knows none"
WATCHED = "the config is watched as one in a folder is: no message is needed"
FOLDER = "beside a folder, the Emperor works in that; here chdir decides"
SEMICOLON = "an empty query is an error at each scan; here it means the default, and check warns"
FRACTION = "the Emperor cuts a time to whole seconds"
FILE = "a row that gets a text is no more a file; the Emperor keeps the file"
KEYS = "a comma ends a part only before another key; the Emperor cuts the JSON at its comma"
OWN_PROCESS = (
    "the process that asks has not the environment of an Emperor; the spec or a table says it, and a message why"
)
INSTEAD = "the row that came first keeps its name, and the other vassal is named in a message"


def row(cases: str, aspect: str, emperor: str, bridge: str, reason: str) -> Difference:
    """Return a difference."""
    return Difference(cases=cases, aspect=aspect, emperor=emperor, bridge=bridge, reason=reason)


DIFFERENCES: tuple[Difference, ...] = (
    row("*-plain", "2 path", "there", "gone", GONE),
    row("*-plain", "2 answer", "refused", "no path", GONE),
    row("*-text*", "2 answer", "one", "two", TEXT),
    row("*-text*", "2 process", "same", "reloaded", TEXT),
    row("pg-fraction", "2 process", "same", "reloaded", FRACTION),
    row("pg-nots", "2 answer", "one", "two", TEXT),
    row("pg-nots", "1 log", "silent", "told", SILENT),
    row("*-moved", "2 answer", "two", "no path", MOVED),
    row("*-moved", "2 moved", "no path", "two", MOVED),
    row("pg-movedonly", "2 answer", "one", "no path", MOVED),
    row("pg-movedonly", "2 moved", "no path", "one", MOVED),
    row("pg-emptied", "2 answer", "two", "no path", ALWAYS),
    row("pg-nullsocket", "1 state", "none", "runs", ALWAYS),
    row("pg-nullsocket", "1 answer", "no path", "one", ALWAYS),
    row("pg-emptysocket", "1 state", "none", "runs", ALWAYS),
    row("pg-emptysocket", "1 answer", "no path", "one", ALWAYS),
    row("pg-nullconfig", "1 state", "waits", "none", EMPTY),
    row("pg-nullconfig", "1 answer", "no answer", "no path", EMPTY),
    row("pg-nullconfig", "1 log", "silent", "told", EMPTY),
    row("*-long", "1 answer", "one", "two", CUT),
    row("*-long", "1 log", "silent", "told", CUT),
    row("pg-magic", "1 answer", "--", "pg-magic-pg-magic.ini-ini", MAGIC),
    row("mongodb-magic", "1 answer", "--", "mongodb-magic-mongodb-magic.ini-ini", MAGIC),
    row("zmq-magic", "1 answer", "--", "zmq-magic-zmq-magic.ini-ini", MAGIC),
    row("amqp-magic", "1 answer", "--", "amqp-magic-amqp-magic.ini-ini", MAGIC),
    row("pg-magicpath", "1 answer", "emperor://pg-magicpath.ini", "/MIRROR/configs/pg-magicpath.ini", MAGIC),
    row("pg-magicfolder", "1 answer", "-", "/MIRROR/configs/-/MIRROR/configs/pg-magicfolder.ini", MAGIC),
    row("*-duplicate", "1 log", "silent", "told", SILENT),
    row("pg-slash", "1 state", "waits", "none", NAMES),
    row("pg-slash", "1 answer", "one", "no path", NAMES),
    row("pg-hidden", "1 state", "waits", "none", NAMES),
    row("pg-hidden", "1 answer", "one", "no path", NAMES),
    row("pg-colon", "1 state", "waits", "none", NAMES),
    row("pg-colon", "1 answer", "no answer", "no path", NAMES),
    row("*-noext", "1 log", "silent", "told", SILENT),
    row("pg-otherext", "1 log", "silent", "told", SILENT),
    row("pg-backup", "1 log", "silent", "told", SILENT),
    row("pg-uppercase", "1 log", "silent", "told", SILENT),
    row("pg-toolong", "1 log", "silent", "told", SILENT),
    row("pg-django", "1 secret", "stats", "nowhere", SECRET),
    row("pg-spoken", "1 secret", "ps log stats", "nowhere", SECRET),
    row("pg-environment", "1 state", "runs", "none", OWN_PROCESS),
    row("pg-environment", "1 answer", "one", "no path", OWN_PROCESS),
    row("pg-environment", "1 log", "silent", "told", OWN_PROCESS),
    row("pg-both", "2 answer", "two", "one", INSTEAD),
    row("pg-both", "2 process", "reloaded", "same", INSTEAD),
    row("pg-both", "2 log", "silent", "told", SILENT),
    row("pg-semicolon", "1 state", "none", "runs", SEMICOLON),
    row("pg-semicolon", "1 answer", "no path", "one", SEMICOLON),
    row("pg-semicolon", "1 log", "told", "silent", SEMICOLON),
    *(row(f"pg-{name}", "1 log", "silent", "told", NAMES) for name in ("slash", "hidden", "colon")),
    row("pg-lab", "3 state", "none", "runs", SHAPE),
    row("pg-lab", "3 answer", "refused", "one", SHAPE),
    row("pg-labwaits", "3 state", "none", "waits", SHAPE),
    row("pg-lab", "5 answer", "refused", "no path", GONE),
    row("pg-many", "2 log", "silent", "told", GUARD),
    row("pg-many", "2 state", "none", "runs", GUARD),
    row("*-downwaits", "end answer", "refused", "one", MEMORY),
    row("*-downidle", "end state", "none", "waits", MEMORY),
    row("*-downidle", "end answer", "refused", "one", MEMORY),
    row("pg-dircwd", "1 answer", "one /srv/monitors/dir", "one /srv/monitors/cwd", FOLDER),
    row("pg-dirsame", "2 process", "reloaded", "same", INSTEAD),
    row("pg-mute", "1 answer", "no path", "one", MUTE),
    row("mongodb-keys", "1 state", "none", "waits", KEYS),
    row("mongodb-keys", "1 answer", "no path", "one", KEYS),
    row("mongodb-keys", "1 log", "told", "silent", KEYS),
    row("mongodb-noname", "1 log", "silent", "told", SILENT),
    row("mongodb-file", "2 answer", "one", "two", FILE),
    row("mongodb-intts", "2 process", "same", "reloaded", TIMES),
    row("mongodb-textts", "2 process", "same", "reloaded", TIMES),
    row("zmq-plain", "end state", "none", "runs", MEMORY),
    row("zmq-plain", "end answer", "refused", "two", MEMORY),
    row("zmq-three", "end state", "none", "runs", MEMORY),
    row("zmq-three", "end answer", "refused", "one", MEMORY),
    row("zmq-five", "1 state", "waits", "runs", FIVE),
    row("zmq-five", "1 answer", "no path", "one", FIVE),
    row("zmq-five", "1 moved", "no path", "one", FIVE),
    row("zmq-five", "1 touch", "there", "gone", FIVE),
    row("zmq-emptysocket", "1 state", "none", "runs", ALWAYS),
    row("zmq-emptysocket", "1 answer", "no path", "one", ALWAYS),
    row("zmq-seven", "1 state", "waits", "none", SEVEN),
    row("zmq-seven", "1 answer", "one", "no path", SEVEN),
    row("zmq-twice", "2 answer", "two", "three", LOST),
    row("zmq-gonetouched", "2 state", "none", "runs", LOST),
    row("zmq-gonetouched", "2 answer", "refused", "two", LOST),
    row("zmq-bare", "2 answer", "refused", "one", BARE),
    row("zmq-bare", "2 process", "none", "reloaded", BARE),
    row("zmqt-six", "2 answer", "refused", "one 1 1", OTHERS),
    row("zmqt-six", "2 process", "none", "other", OTHERS),
    row("zmq-taken", "1 answer", "no path", "one", TAKEN),
    row("amqp-default", "1 state", "none", "runs", BROKER),
    row("amqp-default", "1 answer", "no path", "one", BROKER),
    row("amqp-default", "1 log", "told", "silent", BROKER),
    row("amqp-durable", "1 state", "none", "runs", BROKER),
    row("amqp-durable", "1 answer", "no path", "one", BROKER),
    row("amqp-durable", "1 log", "told", "silent", BROKER),
    *(row(f"amqp-{name}", "1 state", "none", "runs", SPEC) for name in ("login", "vhost", "noport")),
    *(row(f"amqp-{name}", "1 answer", "no path", "one", SPEC) for name in ("login", "vhost", "noport")),
    *(row(f"amqp-{name}", "1 log", "told", "silent", SPEC) for name in ("login", "noport")),
    row("amqp-mute", "1 path", "gone", "there", MUTE),
    row("amqp-mute", "1 answer", "no path", "one", MUTE),
    row("amqp-path", "2 answer", "one", "two", WATCHED),
    row("amqp-path", "4 state", "runs", "none", WATCHED),
    row("amqp-socket", "1 state", "runs", "waits", HEADERS),
    row("amqp-socket", "1 answer", "no path", "one", HEADERS),
    row("amqp-pathnoext", "1 log", "silent", "told", SILENT),
    row("amqp-nothing", "1 log", "silent", "told", SILENT),
    row("amqp-directory", "1 log", "silent", "told", SILENT),
    row("amqp-again", "2 state", "none", "runs", ABORT),
    row("amqp-again", "2 answer", "refused", "two", ABORT),
    row("amqp-crash", "2 state", "none", "runs", ABORT),
    row("amqp-crash", "2 answer", "refused", "one", ABORT),
    row("amqp-bystander", "2 state", "none", "runs", ABORT),
    row("amqp-neighbour", "2 state", "none", "runs", ABORT),
    row("amqp-neighbour", "2 answer", "refused", "one", ABORT),
    row("amqp-stays", "3 state", "none", "runs", ABORT),
    row("amqp-text", "end state", "none", "runs", MEMORY),
    row("amqp-text", "end answer", "refused", "one", MEMORY),
    row("zmqt-five", "1 state", "none", "runs", FIVE),
    row("zmqt-five", "1 moved", "no path", "one 33 33", FIVE),
    row("amqpt-owner", "1 moved", "no path", "one 33 33", HEADERS),
)


def expected(side: str, case: str, aspect: str, right: str) -> str:
    """Return what is to be seen on a side where the bridge does right."""
    if side == "bridge":
        return right
    for one in DIFFERENCES:
        if fnmatchcase(case, one.cases) and fnmatchcase(aspect, one.aspect) and one.bridge == right:
            return str(one.emperor)
    return right
