"""The journal, written and read: what happens to vassals goes in, what became of them since boot comes out."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from bridge.diagnostics import Severity
from bridge.lifecycle.events import CHANGE_IDS, PROBLEM_ID, Priority

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.diagnostics import Diagnostic
    from bridge.lifecycle.events import LifecycleEvent
    from bridge.model.change import Change

IDENTIFIER = "emperor-bridge"


def tell(event: LifecycleEvent, *, vassal: str, user_manager: bool) -> None:
    """Write a moment of a vassal's life as one entry: ``journalctl VASSAL=NAME`` then tells its story.

    Values may be any text: sd_journal_sendv(3), which this goes to, interprets nothing.

    Raises:
        OSError: the journal does not take it.
    """
    from cysystemd.journal import send

    fields = {
        **event.fields,
        "MESSAGE": f"{vassal}: {event.event}: {event.text}",
        "MESSAGE_ID": event.message_id,
        "PRIORITY": int(event.priority),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        "USER_UNIT" if user_manager else "UNIT": event.unit,
        "VASSAL": vassal,
        "VASSAL_EVENT": str(event.event),
    }
    send(**{key: _utf8(value) if isinstance(value, str) else value for key, value in fields.items()})


def _utf8(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def tell_run(changes: Iterable[Change], problems: Iterable[Diagnostic], *, user_manager: bool) -> None:
    """Write what a run did to each vassal and what is wrong; a journal that does not take it stops no run."""
    with suppress(OSError):
        for change in changes:
            _tell_change(change, user_manager=user_manager)
        for problem in problems:
            _tell_problem(problem)


def _tell_change(change: Change, *, user_manager: bool) -> None:
    unit = {"USER_UNIT" if user_manager else "UNIT": change.unit}
    _send(
        MESSAGE=f"{change.vassal}: {change.verb}{f', {change.detail}' if change.detail else ''}",
        MESSAGE_ID=CHANGE_IDS[change.verb],
        PRIORITY=Priority.NOTICE,
        VASSAL=change.vassal,
        VASSAL_EVENT=str(change.verb),
        **unit,
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


def _send(**fields: str | int) -> None:
    from cysystemd.journal import send

    known = {key: _utf8(value) if isinstance(value, str) else int(value) for key, value in fields.items()}
    send(SYSLOG_IDENTIFIER=IDENTIFIER, **known)
