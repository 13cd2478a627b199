from __future__ import annotations

import pytest

from bridge.check.reload import find_reload_hazard
from bridge.diagnostics import Severity
from tests.unit.build import make_resolved


@pytest.mark.parametrize("address", ["/run/a b%$.sock", "@a;#", "127.0.0.1:80", "[::1]:80", ""])
def test_an_address_that_systemd_knows_again(address: str) -> None:
    assert list(find_reload_hazard(make_resolved("a.ini", address))) == []


@pytest.mark.parametrize("address", ["/run/é", '/run/"a', "/run/a'", "/run/a\\b", "@é", "@a\x7f"])
def test_an_address_that_systemd_does_not_know_again(address: str) -> None:
    (problem,) = find_reload_hazard(make_resolved("a.ini", address))
    assert (problem.code, problem.severity) == ("socket-reload", Severity.WARNING)
    assert address in problem.message
