"""Write to the journal what happens to vassals and what the bridge does to them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from bridge.diagnostics import Severity
from bridge.lifecycle.events import PROBLEM_ID, Priority, message_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.diagnostics import Diagnostic
    from bridge.lifecycle.events import LifecycleEvent
    from bridge.model.change import Change

IDENTIFIER = "emperor-bridge"


def tell(event: LifecycleEvent, *, vassal: str, user_manager: bool) -> None:
    """Write an event of a vassal's lifecycle as one entry, which ``journalctl _UID=0 VASSAL=NAME`` shows.

    Values may be any text: sd_journal_sendv(3), which receives them, interprets nothing.

    Raises:
        OSError: the journal does not accept it.
    """
    _send(
        **event.fields,
        MESSAGE=f"{vassal}: {event.event}: {event.text}",
        MESSAGE_ID=event.message_id,
        PRIORITY=event.priority,
        VASSAL=vassal,
        VASSAL_EVENT=str(event.event),
        **_about_unit(event.unit, user_manager=user_manager),
    )


def tell_run(changes: Iterable[Change], problems: Iterable[Diagnostic], *, user_manager: bool) -> None:
    """Write what a run did to each vassal, and the problems. A journal that does not accept them stops no run."""
    with suppress(OSError):
        for change in changes:
            _tell_change(change, user_manager=user_manager)
        for problem in problems:
            _tell_problem(problem)


def _tell_change(change: Change, *, user_manager: bool) -> None:
    _send(
        MESSAGE=str(change),
        MESSAGE_ID=message_id(change.verb),
        PRIORITY=Priority.NOTICE,
        VASSAL=change.vassal,
        VASSAL_EVENT=str(change.verb),
        **_about_unit(change.unit, user_manager=user_manager),
    )


def _tell_problem(problem: Diagnostic) -> None:
    about = {"VASSAL": problem.vassal, "VASSAL_EVENT": "refused"} if problem.vassal else {}
    is_error = problem.severity is Severity.ERROR
    _send(
        MESSAGE=str(problem),
        MESSAGE_ID=PROBLEM_ID,
        PRIORITY=Priority.ERROR if is_error else Priority.WARNING,
        EMPEROR_BRIDGE_CODE=problem.code,
        **about,
    )
    if problem.detail:
        _send(MESSAGE=problem.detail, PRIORITY=Priority.DEBUG, EMPEROR_BRIDGE_CODE=problem.code)


def _about_unit(unit: str, *, user_manager: bool) -> dict[str, str]:
    """Return the field by which ``journalctl --unit`` finds an entry."""
    return {"USER_UNIT" if user_manager else "UNIT": unit}


def _send(**fields: str | int) -> None:
    from cysystemd.journal import send

    known = {key: _utf8(value) if isinstance(value, str) else int(value) for key, value in fields.items()}
    send(SYSLOG_IDENTIFIER=IDENTIFIER, **known)


def _utf8(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
