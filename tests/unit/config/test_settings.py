from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bridge.config.settings import OnDemandRule, RuleKind, Settings, merge, read_toml
from bridge.diagnostics import BridgeError, Diagnostic

if TYPE_CHECKING:
    from pathlib import Path


def read(folder: Path, text: str | bytes) -> tuple[dict[str, Any], str | None]:
    path = folder / "bridge.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_toml(path)


def problem(folder: Path, text: str | bytes) -> Diagnostic:
    with pytest.raises(BridgeError) as caught:
        read(folder, text)
    diagnostic = caught.value.diagnostic
    assert diagnostic.code == "settings"
    assert diagnostic.path == f"{folder}/bridge.toml"
    assert diagnostic.hint
    return diagnostic


def test_all_names(tmp_path: Path) -> None:
    values, ini = read(
        tmp_path,
        """
        emperor = ["/a", "glob:///b/*.ini"]
        emperor-on-demand-ext = ".socket"
        emperor-on-demand-dir = "/run"
        emperor-on-demand-exec = "cmd"
        binary-path = "/usr/bin/uwsgi"
        emperor-ini = "/etc/e.ini"
        """,
    )
    assert ini == "/etc/e.ini"
    assert merge([values]) == Settings(
        emperor=("/a", "glob:///b/*.ini"),
        emperor_on_demand_extension=".socket",
        emperor_on_demand_directory="/run",
        emperor_on_demand_exec="cmd",
        binary_path="/usr/bin/uwsgi",
    )


def test_one_text_is_a_list_of_one(tmp_path: Path) -> None:
    assert read(tmp_path, 'emperor = "/a"') == ({"emperor": ("/a",)}, None)


def test_an_empty_file(tmp_path: Path) -> None:
    assert read(tmp_path, "") == ({}, None)


@pytest.mark.parametrize(
    ("text", "why", "hint"),
    [
        ("emperor = ", "not TOML", "toml.io"),
        (b"emperor = '\xff'", "not TOML", "toml.io"),
        ('emperor = "/a"\nemperor = "/b"', "not TOML", "toml.io"),
        ('emperer = "/a"', "no setting 'emperer'", "did you mean 'emperor'?"),
        ('emperor-on-demand-extention = "x"', "no setting", "did you mean 'emperor-on-demand-extension'?"),
        ('emperor-inni = "x"', "no setting", "did you mean 'emperor-ini'?"),
        ('zzz = "x"', "no setting 'zzz'", "--help"),
        ("emperor = 5", "must be text or a list of texts", 'emperor = "…"'),
        ("emperor = ['/a', 5]", "must be text or a list of texts", 'emperor = "…"'),
        ("emperor = [['/a']]", "must be text or a list of texts", 'emperor = "…"'),
        ("emperor-on-demand-exec = ['a', 'b']", "must be text", 'emperor-on-demand-exec = "…"'),
        ("emperor-on-demand-dir = true", "must be text", 'emperor-on-demand-dir = "…"'),
        ("emperor-ini = 5", "must be text", 'emperor-ini = "…"'),
        ("[emperor]\nx = 1", "must be text", 'emperor = "…"'),
    ],
)
def test_what_is_wrong(tmp_path: Path, text: str | bytes, why: str, hint: str) -> None:
    found = problem(tmp_path, text)
    assert why in found.message
    assert hint in found.hint


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    lines = [
        "emperor = 5",
        "# emperer = 1",
        "emperer = 1",
        "emperor-throttle = 0",
        "emperor-tyrant = true",
        "env = [1]",
    ]
    with pytest.raises(BridgeError) as caught:
        read(tmp_path, "\n".join([*lines, "'uid' = 3", "emperor-ini = 7", "[table]", "x = 1"]))
    found = {d.line: d.message.split(" must")[0] for d in caught.value.diagnostics}
    assert found == {
        1: "emperor",
        3: "there is no setting 'emperer'",
        4: "emperor-throttle",
        6: "env",
        7: "uid",
        8: "emperor-ini",
        9: "there is no setting 'table'",
    }
    assert {d.code for d in caught.value.diagnostics} == {"settings"}
    assert str(caught.value).count("\n") == len(found) - 1


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path, why in ((tmp_path, "Is a directory"), (tmp_path / "none", "No such file")):
        with pytest.raises(BridgeError, match=why):
            read_toml(path)


def test_an_earlier_layer_hides_later_ones() -> None:
    flags = {"emperor": (), "emperor_on_demand_extension": ".flag", "unknown": "x"}
    toml = {"emperor": ("/toml",), "emperor_on_demand_extension": ".toml", "binary_path": ""}
    ini = {"emperor": ("/ini", "/more"), "binary_path": "/ini/uwsgi", "emperor_on_demand_exec": None}
    assert merge([flags, toml, ini]) == Settings(
        emperor=("/toml",), emperor_on_demand_extension=".flag", binary_path="/ini/uwsgi"
    )
    assert merge([]) == Settings()


@pytest.mark.parametrize(
    ("extension", "directory", "command", "rule"),
    [
        ("", "", "", OnDemandRule(RuleKind.NONE)),
        (".socket", "", "", OnDemandRule(RuleKind.EXTENSION, ".socket")),
        ("", "/run", "", OnDemandRule(RuleKind.DIRECTORY, "/run")),
        ("", "", "cmd", OnDemandRule(RuleKind.EXEC, "cmd")),
        (".socket", "/run", "", OnDemandRule(RuleKind.EXTENSION, ".socket")),
        (".socket", "", "cmd", OnDemandRule(RuleKind.EXTENSION, ".socket")),
        ("", "/run", "cmd", OnDemandRule(RuleKind.DIRECTORY, "/run")),
        (".socket", "/run", "cmd", OnDemandRule(RuleKind.EXTENSION, ".socket")),
    ],
)
def test_one_on_demand_rule_is_in_force(extension: str, directory: str, command: str, rule: OnDemandRule) -> None:
    settings = Settings(
        emperor_on_demand_extension=extension,
        emperor_on_demand_directory=directory,
        emperor_on_demand_exec=command,
    )
    assert settings.on_demand_rule == rule
