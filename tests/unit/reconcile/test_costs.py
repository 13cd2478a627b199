"""What a check costs for each vassal: calls of the system and look-ups, which are what makes it slow."""

from __future__ import annotations

import grp
import os
import pwd
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from bridge.check.run import VassalChecks
from tests.unit.reconcile.site import Site

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = "[uwsgi]\nplugin = python3\nuid = root\nchown-socket = root:daemon\nidle = 60\ndie-on-idle = true\n"
NOTED = {os: ("lstat", "open", "readlink", "scandir", "stat"), pwd: ("getpwnam", "getpwuid"), grp: ("getgrnam",)}


def check(site: Site) -> None:
    """Do what ``check`` does."""
    checks = VassalChecks(site.settings, site.paths)
    with site.reconciler() as reconciler:
        planned = reconciler.plan(site.manager, checks.options(reconciler, covers_all=False))
        assert len(planned.desired.resolved) == len(os.listdir(site.folder)) / 2
        checks.found(reconciler, site.manager)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often functions of the system were called, by their name."""
    counts: Counter[str] = Counter()
    own = threading.get_ident()

    def noting(name: str, function: Any) -> Any:
        def noted(*args: Any, **kwargs: Any) -> Any:
            # Another test's thread may still look at files.
            counts[name] += threading.get_ident() == own
            return function(*args, **kwargs)

        return noted

    for module, names in NOTED.items():
        for name in names:
            monkeypatch.setattr(module, name, noting(name, getattr(module, name)))
    return counts


def costs(site: Site, calls: Counter[str], number: int) -> Counter[str]:
    """Return what a check of so many vassals costs."""
    for one in range(number):
        site.write(f"v{one}", f"a{one}", CONFIG)
    calls.clear()
    check(site)
    return calls.copy()


def test_users_are_looked_up_once_in_a_run(tmp_path: Path, calls: Counter[str]) -> None:
    site = Site(tmp_path)
    few, many = costs(site, calls, 2), costs(site, calls, 8)
    look_ups = ("getpwnam", "getpwuid", "getgrnam")
    # The second run asks as often as the first: a user may have changed meanwhile.
    assert [few[name] for name in look_ups] == [many[name] for name in look_ups]
    assert many["getpwnam"] > 0 < many["getgrnam"]


def test_the_calls_for_each_vassal(tmp_path: Path, calls: Counter[str]) -> None:
    site = Site(tmp_path)
    few, many = costs(site, calls, 2), costs(site, calls, 10)
    each = {name: (many[name] - few[name]) / 8 for name in NOTED[os]}
    # Config and rule file are each found and then opened, and may be links. Whose link the rule is, is looked at too.
    # Whether the config is a link is asked once more, for the folder that it is in.
    assert each == {"open": 4, "readlink": 2, "lstat": 2, "stat": 1, "scandir": 0}
