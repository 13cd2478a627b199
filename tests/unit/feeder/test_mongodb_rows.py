from __future__ import annotations

from typing import Any

import pytest
from pymongo.errors import AutoReconnect, OperationFailure, ServerSelectionTimeoutError

from bridge.feeder.mongodb_rows import filter_of
from bridge.feeder.mongodb_session import secrets_of, server_error


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", {}),
        ("  ", {}),
        ("{}", {}),
        ('{"enabled": true}', {"enabled": True}),
        ("{enabled:1}", {"enabled": 1}),
        ("{ enabled : 1, host.name: 'a' }", {"enabled": 1, "host.name": "a"}),
        ("{n: {$in: ['a', \"b\"]}}", {"n": {"$in": ["a", "b"]}}),
        ("{n: 'it\\'s \"so\": x'}", {"n": 'it\'s "so": x'}),
        ('{"a:b": "c: d"}', {"a:b": "c: d"}),
        ('{"n": {"$numberLong": "5"}}', {"n": 5}),
    ],
)
def test_filters(text: str, wanted: dict[str, Any]) -> None:
    assert filter_of(text) == wanted


@pytest.mark.parametrize("text", ["{", "[]", "1", "enabled", "{enabled: yes}", '{"$oid": 1}', "{" * 100000])
def test_what_is_no_filter(text: str) -> None:
    with pytest.raises(ValueError, match="the filter"):
        filter_of(text)


@pytest.mark.parametrize(
    ("options", "secrets"),
    [
        ({}, set()),
        ({"uri": "mongodb://h:1,h:2/db"}, set()),
        ({"uri": "mongodb://u@h"}, set()),
        ({"uri": "mongodb://u:p%40%2B@h:1/db"}, {"p%40%2B", "p@+"}),
        ({"uri": "mongodb://u:p@x/y@h:1/db"}, {"p@x/y"}),
        ({"uri": "mongodb://h", "password": "p"}, {"p"}),
    ],
)
def test_secrets(options: dict[str, Any], secrets: set[str]) -> None:
    assert secrets_of(options) == secrets


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            ServerSelectionTimeoutError("h:1: refused (configured timeouts: a), Timeout: 5s, Topology: <x>"),
            "h:1: refused",
        ),
        (AutoReconnect("operation cancelled"), "the server does not answer any more: timed out"),
        (OperationFailure("Authentication failed., full error: {}", 18, {"errmsg": "Authentication\nfailed."}),
         "Authentication failed."),
        (AutoReconnect(""), "AutoReconnect"),
        (KeyError("secret"), "the server's answer cannot be understood (KeyError)"),
    ],
)  # fmt: skip
def test_what_the_driver_says_is_one_short_line(error: Exception, said: str) -> None:
    assert str(server_error(error)) == said
