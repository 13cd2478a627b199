"""From files that changed to the vassals that they are of."""

from __future__ import annotations

import pytest

from bridge.config.settings import Settings
from bridge.state.cache import CachedVassal, VassalCache
from bridge.watch.affected import configs_of

FOLDER = Settings(emperor=("dir:///v",), emperor_on_demand_extension=".socket")
PATTERN = Settings(emperor=("glob:///v/*/app.ini",), emperor_on_demand_extension=".socket")
ROLL = VassalCache({"/v/a.ini": CachedVassal(label="a", files=("/v/a.ini", "/v/shared.ini", "/v/a.ini.socket"))})


@pytest.mark.parametrize(
    ("settings", "path", "configs"),
    [
        (FOLDER, "/v/a.ini", {"/v/a.ini"}),
        (FOLDER, "/v/a.ini.socket", {"/v/a.ini"}),
        (FOLDER, "/v/new.ini", {"/v/new.ini"}),
        (FOLDER, "/v/new.ini.socket", {"/v/new.ini"}),
        (FOLDER, "/v/.a.ini.swp", set()),
        (FOLDER, "/v/notes.txt.socket", set()),
        # A file that some config includes: who knows which.
        (FOLDER, "/v/shared.ini", None),
        # Not by the name it has on the roll, such as through a symlink.
        (FOLDER, "/elsewhere/a.ini", None),
        (FOLDER, "/run/a.sock", None),
        (PATTERN, "/v/x/app.ini", {"/v/x/app.ini"}),
        (PATTERN, "/v/x/app.ini.socket", {"/v/x/app.ini"}),
        (PATTERN, "/v/x/upload.bin", set()),
        (PATTERN, "/v/.x/app.ini", None),
        (PATTERN, "/v/x/y/app.ini", None),
        (Settings(emperor=("/v",), emperor_on_demand_exec="rule"), "/v/a.ini", None),
    ],
)
def test_the_configs_of_a_file(settings: Settings, path: str, configs: set[str] | None) -> None:
    found = configs_of([path], ROLL, settings)
    assert found == (None if configs is None else frozenset(configs))


def test_one_file_that_may_be_anybodys_is_enough() -> None:
    assert configs_of(["/v/a.ini", "/run/a.sock"], ROLL, FOLDER) is None
    assert configs_of(["/v/a.ini", "/v/b.ini"], ROLL, FOLDER) == frozenset({"/v/a.ini", "/v/b.ini"})
    assert configs_of([], ROLL, FOLDER) == frozenset()
