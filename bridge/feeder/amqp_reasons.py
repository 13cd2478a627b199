"""Why a broker cannot be asked, in words for admins: pika's exceptions, and the refusals of a broker."""

from __future__ import annotations

import os
import re
import socket
import ssl
from dataclasses import dataclass

from pika import exceptions
from pika.adapters.utils.connection_workflow import AMQPConnectorStackTimeout

ACCESS_REFUSED, NOT_FOUND, LOCKED, PRECONDITION_FAILED, NOT_ALLOWED = 403, 404, 405, 406, 530
"""Reply codes of AMQP 0-9-1."""
FRAME_TYPES = {1, 2, 3, 8}
FRAME_MAX = 131_072
"""Bytes; pika asks brokers for no more."""
LOGIN_HINT = "check user, password and vhost; guest may log in from the broker's own machine only"
RIGHTS_HINT = "rabbitmqctl set_permissions gives the user its rights in the vhost"
FRAMES_HINT = "is there another program on that port, or TLS on one side only?"
UP_HINT = "the bridge tries again by itself; the vassals stay as they are"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something failed, and what to do about it."""

    message: str
    hint: str = UP_HINT


NO_AMQP = Reason("what it sends is not AMQP 0-9-1", FRAMES_HINT)
_REASONS = [
    (exceptions.ProbableAuthenticationError, Reason("it has refused the login", LOGIN_HINT)),
    (exceptions.ProbableAccessDeniedError, Reason("it has refused the vhost", LOGIN_HINT)),
    (exceptions.AMQPHeartbeatTimeout, Reason("it gives no sign of life")),
    (AMQPConnectorStackTimeout, Reason("it does not answer")),
    (exceptions.IncompatibleProtocolError, NO_AMQP),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What follows when a broker has refused a step of the set-up: fail, or go on."""

    failure: Reason | None = None
    is_passive: bool = False
    """Take what is there, instead of leaving the step out."""
    warning: Reason | None = None


def explain(error: BaseException) -> Reason:
    """Return why a connection could not be made, or was lost. The text has nothing that the broker did not say."""
    cause = _cause(error)
    for kind, reason in _REASONS:
        if isinstance(cause, kind):
            return reason
    if isinstance(cause, exceptions.ConnectionClosedByBroker):
        hint = LOGIN_HINT if cause.reply_code in {ACCESS_REFUSED, NOT_ALLOWED} else UP_HINT
        return Reason(f"it has closed the connection: {cause.reply_text or cause.reply_code}", hint)
    if isinstance(cause, OSError):
        return _from_system(cause)
    if isinstance(cause, exceptions.AMQPConnectionError):
        return Reason("the connection broke")
    return NO_AMQP


def judge(step: str, *, is_passive: bool, code: int, text: str) -> Verdict:
    """Return what follows when the broker has refused a step and closed the channel.

    Args:
        step: ``exchange``, ``queue``, ``bind`` or ``consume``.
        is_passive: whether the step only asked for what is there.
        code: the broker's reply code.
        text: the broker's reason.
    """
    if code == PRECONDITION_FAILED and step in {"exchange", "queue"} and not is_passive:
        return Verdict(is_passive=True, warning=_difference(step, text))
    if code == ACCESS_REFUSED and step in {"exchange", "queue"} and not is_passive:
        return Verdict(is_passive=True)
    if code == ACCESS_REFUSED and step == "bind":
        message = "the user may not bind the queue to the exchange; the bridge takes it for bound"
        return Verdict(warning=Reason(message, RIGHTS_HINT))
    if code == ACCESS_REFUSED and "exclusive" in text:
        return Verdict(failure=Reason("another process takes messages from the queue", "one queue is for one host"))
    hint = RIGHTS_HINT if code == ACCESS_REFUSED else UP_HINT
    return Verdict(failure=Reason(f"it has refused the {step}: {text}", hint))


def is_frame(start: bytes) -> bool:
    """Return whether what a broker sends next can begin a frame: type, channel, and a size that pika allows.

    pika waits for the end of a frame of any size. Without this, one wrong byte makes it deaf until it
    misses heartbeats.
    """
    if not start or start[:1] == b"A":
        # The answer to a wrong version is "AMQP".
        return True
    return start[0] in FRAME_TYPES and (len(start) < 7 or int.from_bytes(start[3:7], "big") <= FRAME_MAX)


def transient(step: str) -> Reason:
    """Return the warning about an exchange or a queue that the broker forgets when it restarts."""
    return Reason(
        f"the {step} is not durable: what is sent while the broker restarts is lost",
        f"delete the {step} when nobody else needs it, and the bridge makes a durable one",
    )


def _difference(step: str, text: str) -> Reason | None:
    argument = re.search(r"inequivalent arg '([\w-]+)'.*current is '?(\w+)", text)
    if argument and argument[1] == "durable":
        return transient(step) if argument[2] == "false" else None
    if argument and argument[1] in {"auto_delete", "exclusive"}:
        return transient(step)
    if argument and argument[1] == "type":
        message = f"the exchange is of the type {argument[2]}: only messages that it routes to the queue arrive"
        return Reason(message, "the Emperor's exchange is of the type fanout")
    return None


def _from_system(error: OSError) -> Reason:
    if isinstance(error, ssl.SSLCertVerificationError):
        return Reason(f"its certificate is not accepted: {error.verify_message}", "cacertfile= names who may sign it")
    if isinstance(error, ssl.SSLError):
        reason = getattr(error, "reason", "") or "the connection broke"
        return Reason(f"TLS fails: {reason}", FRAMES_HINT)
    if isinstance(error, socket.gaierror):
        return Reason(f"its host name cannot be looked up: {error.strerror}")
    return Reason(os.strerror(error.errno) if error.errno else "the connection broke")


def _cause(error: BaseException) -> BaseException:
    """Return the exception that pika has wrapped, by one of its three ways."""
    for _ in range(10):
        several = getattr(error, "exceptions", None)
        inner = several[-1] if several else getattr(error, "exception", None)
        if inner is None and isinstance(error, exceptions.AMQPConnectionError) and error.args:
            inner = error.args[0]
        if not isinstance(inner, BaseException):
            break
        error = inner
    return error
