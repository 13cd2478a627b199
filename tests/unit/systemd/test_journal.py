"""Which of the manager's messages is the reason of a failure, from entries as data."""

from __future__ import annotations

import pytest

from bridge.systemd.journal import JournalEntry, choose_reason

UNIT = "vassal-a.socket"
SYSTEMD_IGNORES = [
    "Failed to read pids.max attribute of cgroup, ignoring: No such file or directory",
    "Failed to set 'memory.max' attribute on '/vassals.slice', ignoring.",
    "Failed to create cgroup /vassals.slice, ignoring: Read-only file system",
    "Couldn't move remaining userspace processes, ignoring: Input/output error",
    "Unknown key name 'Foo' in section 'Service', ignoring.",
    "Failed to parse Delay= value, ignoring assignment: x",
    "Found left-over process 7 (uwsgi) in control group while starting unit. Ignoring.",
    "Configuration file /etc/systemd/system/vassal-a.socket is marked executable. Proceeding anyway.",
    "Invalid PID file, proceeding anyway: Permission denied",
    "unit configures an IP firewall, but cgroup firewalling is missing.\nx; Proceeding WITHOUT firewalling in effect!",
]


def warning(text: str, priority: int = 4, **fields: str) -> JournalEntry:
    return JournalEntry({"MESSAGE": f"{UNIT}: {text}", "PRIORITY": str(priority), **fields})


def error(text: str) -> JournalEntry:
    return warning(text, priority=3)


RESULT = warning("Failed with result 'resources'.", MESSAGE_ID="d9b373ed55a64feb8242e02dbe79a49c")
LISTEN = warning("Failed to listen on sockets: Address already in use")
CREATE = error("Failed to create listening socket (/run/a.sock): Address already in use")


@pytest.mark.parametrize("text", SYSTEMD_IGNORES)
@pytest.mark.parametrize("priority", [3, 4])
def test_what_systemd_ignores_is_no_reason(text: str, priority: int) -> None:
    ignored = warning(text, priority=priority)
    assert choose_reason(UNIT, [RESULT, ignored]) == ""
    for entries in ([ignored, RESULT, LISTEN, ignored], [RESULT, LISTEN] + [ignored] * 30):
        assert choose_reason(UNIT, entries) == "Failed to listen on sockets: Address already in use"
    assert choose_reason(UNIT, [ignored] * 30 + [RESULT, CREATE]) == CREATE.fields["MESSAGE"].partition(": ")[2]


@pytest.mark.parametrize(
    "text",
    [
        "Failed to execute /srv/ignoring/uwsgi: No such file or directory",
        "Failed at step EXEC spawning /srv/proceeding anyway: Permission denied",
        "Start request repeated too quickly.",
    ],
)
def test_a_reason_may_have_these_words_in_a_path(text: str) -> None:
    assert choose_reason(UNIT, [RESULT, warning(text)]) == text


def test_an_error_comes_before_any_warning() -> None:
    assert choose_reason(UNIT, [RESULT, LISTEN, CREATE, error("older")]).startswith("Failed to create")


def test_of_warnings_alone_the_oldest_is_the_cause() -> None:
    assert choose_reason(UNIT, [RESULT, LISTEN, warning("Failed to run 'start' task: no")]) == (
        "Failed to run 'start' task: no"
    )


def test_messages_that_only_inform_are_no_reason() -> None:
    notice = warning("Listening on a.", priority=6)
    assert choose_reason(UNIT, [notice, JournalEntry({"MESSAGE": "no priority"}), RESULT]) == ""
    assert choose_reason(UNIT, []) == ""


def test_what_is_long_past_is_not_considered() -> None:
    notices = [warning("Listening on a.", priority=6)] * 10
    assert choose_reason(UNIT, [*notices, CREATE]) == ""
