"""The README's tables of events say what the code does."""

from __future__ import annotations

import re

from bridge.lifecycle.events import EXILE, MESSAGE_IDS, PROBLEM_ID, Event
from bridge.model.change import Verb
from tests.unit.build import ROOT

README = (ROOT / "README.md").read_text()


def test_every_event_stands_with_its_message_id_in_its_order() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| .+ \| ([0-9a-f]{32}) \|$", README, re.MULTILINE)
    lives = [(str(event), name) for event, name in MESSAGE_IDS[Event].items()]
    assert rows == [*lives, *((str(verb), MESSAGE_IDS[Verb][verb]) for verb in Verb), ("refused", PROBLEM_ID)]


def test_the_exile_of_the_table_is_the_codes() -> None:
    assert re.findall(r"exits with (\d+) \(the Emperor's exile", README) == [str(EXILE)]
