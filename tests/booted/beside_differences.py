"""Where the bridge differs from the real Emperor, and why that is better; any other difference fails."""

from __future__ import annotations

from .beside import Difference

GONE = "the Emperor leaves a dead socket file behind; clients of ours find nothing, and the path is free"
ACCESS = "who may connect is for the config to say, and without a word not for everybody on the machine"
BINDS_NOTHING = "the Emperor makes a file of that name in the folder, and nobody can connect to the abstract address"

ALONE = "there is no Emperor, and a config that asks is told so"
AGAIN = "it ends at once, as uWSGI has nothing to serve: ours has units that say so, and is tried again"
WRONG_VARIABLE = "unsetenv() moves the next variable to where the Emperor still reads, and it renames that one instead"
MASTER_ARGUMENT = "the bridge adds --master, which uWSGI under an Emperor does by itself"
LEAKED = "the Emperor's own name for itself reaches its vassals; ours have the one the wrapper starts them by"
NO_OWNER = "uWSGI finds no such user, and ends at each start; check says so before anybody asks"
HALF_A_LINE = "what follows a tab in a rule is a mistake: we say so instead of guessing that it is a comment"
NAMELESS = "a unit needs a name, and this config has none before its extension; check says so"
COLON = "the Emperor takes the colon for one of a broodlord's, and stops the vassal again; check says it"
INITGROUPS = "Debian's 2.0.21 does not know emperor-tyrant-initgroups, and passes over it; the bridge does as it says"
DAEMON = "without an Emperor it would leave its service and lose its socket; with these it logs, and stays"
OWN = "systemd holds the sockets of its config, and starts it at the first connection; the Emperor runs it always"
HANDED = "so that uWSGI finds its sockets among its descriptors, it starts as after a reload, and keeps its log"


def refused(cases: str, reason: str) -> tuple[Difference, ...]:
    """A vassal that the Emperor runs and the bridge does not: it is never there, so that nothing answers."""
    rows: dict[str, tuple[object, object]] = {
        "first": ("waits", "none"),
        "access": ("666 0:0", "FileNotFoundError"),
        "answer": ("of the app", "none"),
        "after the answer": ("runs with 1 workers", "none"),
        "after a touch": ("runs with 1 workers", "none"),
    }
    return tuple(
        Difference(cases=cases, aspect=aspect, emperor=emperor, bridge=bridge, reason=reason)
        for aspect, (emperor, bridge) in rows.items()
    )


def own(workers: int, cases: str, *, sockets: int = 1, log_owner: bool = False) -> tuple[Difference, ...]:
    """A vassal that waits on the sockets of its config, while the Emperor runs it with so many workers."""
    ran = f"runs with {workers} workers"
    chown = Difference(cases=cases, aspect="option logfile-chown", emperor=None, bridge=True, reason=HANDED)
    return (
        Difference(cases=cases, aspect="first", emperor=ran, bridge="waits", reason=OWN),
        Difference(cases=cases, aspect="option log-reopen", emperor=None, bridge=True, reason=HANDED),
        Difference(cases=cases, aspect="option safe-fd", emperor=None, bridge=str(3 + sockets), reason=HANDED),
        *([chown] if log_owner else []),
    )


DIFFERENCES: tuple[Difference, ...] = (
    *own(0, "piku/blog"),
    Difference(cases="piku/blog", aspect="after idle", emperor=None, bridge="waits", reason=OWN),
    *own(1, "piku/port"),
    *own(2, "debian/site", log_owner=True),
    *own(1, "debian/port", sockets=2, log_owner=True),
    *own(2, "debian/xml", log_owner=True),
    *own(2, "found/inherits", log_owner=True),
    *own(2, "found/django", log_owner=True),
    *own(2, "found/searxng", log_owner=True),
    *own(1, "fedora/port"),
    *own(2, "fedora/named"),
    Difference(
        cases="found/luci", aspect="option socket", emperor=None, bridge="/run/beside/found/luci.sock", reason=ALONE
    ),
    Difference(cases="found/luci", aspect="option log-reopen", emperor=None, bridge=True, reason=HANDED),
    Difference(cases="found/luci", aspect="option safe-fd", emperor=None, bridge="4", reason=HANDED),
    *refused("addresses/tabbed", HALF_A_LINE),
    *refused("formats/onlyextension", NAMELESS),
    Difference(cases="lives/daemonize*", aspect="option log-reopen", emperor=None, bridge=True, reason=DAEMON),
    Difference(
        cases="lives/daemonizeuser",
        aspect="option logfile-chown",
        emperor=None,
        bridge=True,
        reason="a reload under the Emperor cannot open root's log as another user, and ends the vassal",
    ),
    Difference(cases="lives/daemonize*", aspect="option safe-fd", emperor=None, bridge="3", reason=DAEMON),
    Difference(cases="formats/colon", aspect="access", emperor="666 0:0", bridge="FileNotFoundError", reason=COLON),
    Difference(cases="sets/*", aspect="option or", emperor="1", bridge=None, reason=WRONG_VARIABLE),
    Difference(cases="sets/*", aspect="env UWSGI_OR", emperor="1", bridge=None, reason=WRONG_VARIABLE),
    Difference(cases="sets/*", aspect="option thunder-lock", emperor=None, bridge="1", reason=WRONG_VARIABLE),
    Difference(cases="sets/*", aspect="env UWSGI_THUNDER_LOCK", emperor=None, bridge="1", reason=WRONG_VARIABLE),
    Difference(cases="wrapper/*", aspect="env CASE_WRAPPED", emperor="2", bridge="3", reason=MASTER_ARGUMENT),
    Difference(
        cases="wrapper/*",
        aspect="env UWSGI_ORIGINAL_PROC_NAME",
        emperor="/usr/bin/uwsgi",
        bridge="uwsgi",
        reason=LEAKED,
    ),
    Difference(
        cases="addresses/chmodwrong",
        aspect="first",
        emperor="waits",
        bridge="none",
        reason="uWSGI would end at each start with this; check says why before anybody asks",
    ),
    Difference(
        cases="addresses/chmodwrong",
        aspect="access",
        emperor="666 0:0",
        bridge="FileNotFoundError",
        reason="uWSGI would end at each start with this; check says why before anybody asks",
    ),
    Difference(
        cases="*",
        aspect="env UWSGI_EMPEROR_FD",
        emperor="a descriptor",
        bridge=None,
        reason="with it an idle vassal writes to the Emperor instead of exiting, and there is none",
    ),
    Difference(
        cases="*",
        aspect="option master",
        emperor=None,
        bridge=True,
        reason="uWSGI turns its master on under an Emperor without an option; we say so on the command line",
    ),
    Difference(
        cases="*",
        aspect="its address after removal",
        emperor="ConnectionRefusedError",
        bridge="FileNotFoundError",
        reason=GONE,
    ),
    Difference(cases="*", aspect="access", emperor="666 0:0", bridge="660 0:0", reason=ACCESS),
    Difference(cases="addresses/chmod600", aspect="access", emperor="666 0:0", bridge="600 0:0", reason=ACCESS),
    Difference(cases="addresses/chown", aspect="access", emperor="666 0:0", bridge="660 33:33", reason=ACCESS),
    Difference(cases="addresses/chownnogroup", aspect="access", emperor="666 0:0", bridge="660 33:0", reason=ACCESS),
    Difference(cases="addresses/chownnouser", aspect="access", emperor="666 0:0", bridge="660 0:33", reason=ACCESS),
    Difference(cases="addresses/chownnumbers", aspect="access", emperor="666 0:0", bridge="660 33:1", reason=ACCESS),
    Difference(cases="addresses/chownblanks", aspect="first", emperor="waits", bridge="none", reason=NO_OWNER),
    Difference(
        cases="addresses/chownblanks",
        aspect="access",
        emperor="666 0:0",
        bridge="FileNotFoundError",
        reason=NO_OWNER,
    ),
    Difference(
        cases="addresses/chownblanks",
        aspect="its address after removal",
        emperor="ConnectionRefusedError",
        bridge=None,
        reason=GONE,
    ),
    Difference(cases="unprivileged/*", aspect="access", emperor="666 33:33", bridge="660 33:33", reason=ACCESS),
    Difference(cases="addresses/abstract", aspect="answer", emperor="none", bridge="of the app", reason=BINDS_NOTHING),
    Difference(
        cases="addresses/abstract",
        aspect="after the answer",
        emperor="waits",
        bridge="runs with 1 workers",
        reason=BINDS_NOTHING,
    ),
    Difference(
        cases="lives/masterfalse",
        aspect="after a touch",
        emperor="runs with 0 workers",
        bridge="waits",
        reason="a process without a master cannot reload: ours starts with the new config at the next connection",
    ),
    Difference(cases="tyrant/wwwdata", aspect="access", emperor="666 0:0", bridge="660 33:33", reason=ACCESS),
    Difference(cases="tyrant/mixed", aspect="access", emperor="666 0:0", bridge="660 33:1", reason=ACCESS),
    Difference(cases="tyrant/nobody", aspect="access", emperor="666 0:0", bridge="660 65534:65534", reason=ACCESS),
    Difference(cases="tyrant-nofollow/*", aspect="groups", emperor=[], bridge=[33], reason=INITGROUPS),
    Difference(cases="tyrant-nofollow/*", aspect="access", emperor="666 0:0", bridge="660 33:33", reason=ACCESS),
    Difference(cases="tyrant/idle", aspect="access", emperor="666 0:0", bridge="660 1:1", reason=ACCESS),
    Difference(cases="addresses/nosocket", aspect="first", emperor="none", bridge="waits", reason=AGAIN),
    Difference(
        cases="addresses/chmodwrong",
        aspect="its address after removal",
        emperor="ConnectionRefusedError",
        bridge=None,
        reason=GONE,
    ),
    Difference(cases="configs/ifenv", aspect="option env", emperor="CASE_IF=emperor", bridge=None, reason=ALONE),
    Difference(cases="configs/ifenv", aspect="env CASE_IF", emperor="emperor", bridge=None, reason=ALONE),
    Difference(cases="configs/ifnotenv", aspect="option env", emperor=None, bridge="CASE_IF=alone", reason=ALONE),
    Difference(cases="configs/ifnotenv", aspect="env CASE_IF", emperor=None, bridge="alone", reason=ALONE),
    Difference(
        cases="configs/ifnotenvsocket",
        aspect="option socket",
        emperor=None,
        bridge="/run/beside/configs/other.sock",
        reason=ALONE,
    ),
)
