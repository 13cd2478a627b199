from __future__ import annotations

import os
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from bridge.config.settings import Settings
from bridge.vassals.on_demand import apply_on_demand_rule
from bridge.vassals.shell_syntax import shell_hint
from tests.unit.build import make_vassal

if TYPE_CHECKING:
    from pathlib import Path

FOR_A_SHELL = {
    "cat /etc/addresses | head -1": "|",
    "test -f x && echo /run/a": "&&",
    "lookup || true": "||",
    "lookup 2>/dev/null": "2>",
    "lookup < table": "<",
    "cd /srv; ./lookup": "cd",
    "echo /run/$USER.sock": "$U",
    'echo "/run/$(id -un).sock"': "$(",
    "echo `id`": "`",
    "cat /etc/addresses/*": "*",
    "FOO=1 lookup": "FOO=1",
    "lookup &": "&",
    "(lookup)": "(",
    "~/bin/lookup": "~",
}
FOR_NO_SHELL = [
    *(
        "lookup",
        "lookup --one 'a | b'",
        'lookup "a;b"',
        "lookup a\\|b",
        "lookup '$HOME'",
        "lookup \\$HOME",
        "lookup a=b",
    ),
    *("sh -c 'lookup | head -1' --", '/bin/bash -c "echo $HOME" --', "lookup 100% #1", "lookup '", ""),
]


@pytest.mark.parametrize("command", FOR_A_SHELL)
def test_what_only_a_shell_understands(command: str) -> None:
    hint = shell_hint(command)
    assert f"there is no shell, and {FOR_A_SHELL[command]} is an argument" in hint
    # What it suggests does as the Emperor: the config is the last word of the command.
    shell, option, script, end = shlex.split(hint.partition("; write ")[2])
    assert (shell, option, script, end) == ("sh", "-c", f'{command} "$1"', "--")
    assert shell_hint(shlex.join([shell, option, script, end])) == ""


@pytest.mark.parametrize("command", FOR_NO_SHELL)
def test_what_needs_no_shell(command: str) -> None:
    assert shell_hint(command) == ""


def test_the_suggestion_works(tmp_path: Path) -> None:
    command = "cat /nowhere/such 2>/dev/null | cat; echo"
    (failed,) = apply_on_demand_rule(Settings(emperor_on_demand_exec=command), [make_vassal(folder=str(tmp_path))])
    (problem,) = failed.diagnostics
    assert "there is no shell" in problem.hint
    suggested = problem.hint.partition("; write ")[2]
    by_hand = subprocess.run(f"{command} '{tmp_path}/app.ini'", shell=True, stdout=subprocess.PIPE, check=True)  # noqa: S602
    (found,) = apply_on_demand_rule(Settings(emperor_on_demand_exec=suggested), [make_vassal(folder=str(tmp_path))])
    assert str(found.address) == os.fsdecode(by_hand.stdout).strip() == f"{tmp_path}/app.ini"


def test_a_wrong_address_of_such_a_command_has_the_hint(tmp_path: Path) -> None:
    settings = Settings(emperor_on_demand_exec="echo 80:x 2>/dev/null")
    (found,) = apply_on_demand_rule(settings, [make_vassal(folder=str(tmp_path))])
    (problem,) = found.diagnostics
    assert "there is no shell, and 2>" in problem.hint
    (usual,) = apply_on_demand_rule(Settings(emperor_on_demand_exec="false"), [make_vassal(folder=str(tmp_path))])
    assert usual.diagnostics[0].hint == "run it by hand with the config as its argument"
