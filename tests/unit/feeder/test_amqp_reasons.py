"""What pika raises and what a broker refuses, in words for admins."""

from __future__ import annotations

import socket
import ssl

import pytest
from pika import exceptions
from pika.adapters.utils import connection_workflow as workflow

from bridge.feeder.amqp_reasons import Reason, explain, is_frame, judge

INEQUIVALENT = (
    "PRECONDITION_FAILED - inequivalent arg '{}' for exchange 'e' in vhost '/': received '{}' but current is '{}'"
)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConnectionRefusedError(111, "x"), "Connection refused"),
        (socket.gaierror(-2, "not known"), "its host name cannot be looked up: not known"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "TLS fails: the connection broke"),
        (exceptions.ConnectionClosedByBroker(320, "FORCED - bye"), "it has closed the connection: FORCED - bye"),
        (exceptions.ConnectionClosedByBroker(0, ""), "it has closed the connection: 0"),
        (exceptions.ProbableAuthenticationError("x"), "it has refused the login"),
        (exceptions.AMQPHeartbeatTimeout("x"), "it gives no sign of life"),
        (exceptions.StreamLostError("x"), "the connection broke"),
        (exceptions.IncompatibleProtocolError("x"), "what it sends is not AMQP 0-9-1"),
        (exceptions.InvalidFrameError("x"), "what it sends is not AMQP 0-9-1"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), "what it sends is not AMQP 0-9-1"),
        (workflow.AMQPConnectorStackTimeout("x"), "it does not answer"),
    ],
)
def test_an_error_is_explained_however_it_is_wrapped(error: Exception, message: str) -> None:
    phase = workflow.AMQPConnectorSocketConnectError(error)
    failed = workflow.AMQPConnectionWorkflowFailed([ValueError("an earlier one"), phase])
    for one in (error, phase, failed, exceptions.AMQPConnectionError(failed)):
        found = explain(one)
        assert found.message.startswith(message)
        assert found.hint


def test_a_chain_without_an_end_is_given_up() -> None:
    error = exceptions.AMQPConnectionError()
    error.args = (error,)
    assert explain(error).message == "the connection broke"


@pytest.mark.parametrize("step", ["exchange", "queue"])
@pytest.mark.parametrize(
    ("argument", "ours", "theirs", "warning"),
    [
        ("durable", "true", "false", "is not durable"),
        ("durable", "false", "true", ""),
        ("auto_delete", "false", "true", "is not durable"),
        ("x-queue-type", "classic", "quorum", ""),
        ("type", "fanout", "topic", "of the type topic"),
    ],
)
def test_what_differs_is_taken_with_a_warning(step: str, argument: str, ours: str, theirs: str, warning: str) -> None:
    found = judge(step, is_passive=False, code=406, text=INEQUIVALENT.format(argument, ours, theirs))
    assert (found.failure, found.is_passive) == (None, True)
    assert (warning in found.warning.message) if found.warning and warning else (found.warning is None and not warning)


@pytest.mark.parametrize(("step", "is_passive"), [("exchange", True), ("queue", True), ("consume", False)])
def test_a_step_that_cannot_be_done_otherwise_fails(step: str, is_passive: bool) -> None:
    for code in (403, 404, 405, 406):
        found = judge(step, is_passive=is_passive, code=code, text="WHY")
        assert found.failure is not None
        assert found.failure.message == f"it has refused the {step}: WHY"


def test_without_the_right_to_bind_the_queue_is_taken_for_bound() -> None:
    found = judge("bind", is_passive=False, code=403, text="ACCESS_REFUSED")
    assert (found.failure, found.is_passive) == (None, False)
    assert found.warning is not None


def test_a_queue_in_exclusive_use_is_another_host_s() -> None:
    text = "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use"
    found = judge("consume", is_passive=False, code=403, text=text).failure
    assert found == Reason("another process takes messages from the queue", "one queue is for one host")


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (b"", True),
        (b"\1", True),
        (b"\1\0\0\0\0\0", True),
        (b"\3\0\1\0\1\xff\xf8", True),
        (b"\3\0\1\0\2\0\1", False),
        (b"\4\0\0\0\0\0\0", False),
        (b"AMQP\0\0\x09", True),
        (b"HTTP/1.", False),
    ],
)
def test_a_frame_is_told_from_garbage_by_its_start(start: bytes, expected: bool) -> None:
    assert is_frame(start) is expected
