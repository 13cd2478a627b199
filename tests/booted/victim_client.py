"""Ask a site ten times a second until standard input ends; print what is not as it should be.

`victim_client.py ADDRESS UID`: each answer must come from a process of this user. Standard output has one JSON object
a line: the first answer of each mark, each failure, and at the end how often the site was asked. Times are those of
the clock that does not go back, which a machine shares with its host.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .client import request
else:
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from client import request

INTERVAL = 0.1
TIMEOUT = 5.0
"""Seconds that one answer may take."""


def ask(address: str, uid: int) -> tuple[str, str]:
    """Ask once; return the mark that the site answers, or what is wrong."""
    outcome = request("uwsgi", address, "/", TIMEOUT)
    if outcome["status"] != 200:
        return "", f"status {outcome['status']}, {outcome['error']}"
    try:
        answer = json.loads(str(outcome["body"]))
        return (str(answer["mark"]), "") if answer["uid"] == uid else ("", f"user {answer['uid']} answers")
    except (ValueError, KeyError, TypeError):
        return "", f"a strange answer: {str(outcome['body'])[:100]}"


def tell(**facts: object) -> None:
    """Print one line."""
    print(json.dumps(facts), flush=True)  # noqa: T201 - a program of its own


def main() -> None:
    """Ask until the end of standard input."""
    address, uid = sys.argv[1], int(sys.argv[2])
    asked, longest, last = 0, 0.0, None
    due = time.monotonic()
    while not select.select([0], [], [], max(0.0, due - time.monotonic()))[0]:
        began = time.monotonic()
        due = max(due + INTERVAL, began)
        mark, wrong = ask(address, uid)
        asked += 1
        longest = max(longest, time.monotonic() - began)
        if wrong:
            tell(failure=wrong, began=began, ended=time.monotonic())
        elif mark != last:
            last = mark
            tell(mark=mark, at=time.monotonic())
    tell(asked=asked, longest=longest)


if __name__ == "__main__":
    main()
