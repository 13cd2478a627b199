from __future__ import annotations

import os
import shlex
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bridge.config.settings import Settings
from bridge.diagnostics import BridgeError, Severity
from bridge.model.address import UnixAddress, parse_address
from bridge.model.vassal import VassalRow
from bridge.vassals import on_demand
from bridge.vassals.on_demand import EXEC_OUTPUT_MAX, RULE_FILE_MAX, RuleResult, _address_of, apply_on_demand_rule
from tests.unit.build import make_vassal, note_children

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.model.address import Address
    from bridge.model.vassal import Vassal

BY_EXTENSION = Settings(emperor_on_demand_extension=".socket")


def ask(settings: Settings, vassal: Vassal) -> RuleResult:
    (result,) = apply_on_demand_rule(settings, [vassal])
    return result


def rule_file(folder: Path, content: bytes) -> RuleResult:
    (folder / "app.ini.socket").write_bytes(content)
    return ask(BY_EXTENSION, make_vassal(folder=str(folder)))


def by_file(folder: Path, address: Address | None = None) -> RuleResult:
    """Return what the extension rule says without a problem. Its file counts whether it is there or not."""
    return RuleResult(address=address, sources=(f"{folder}/app.ini.socket",))


def run(folder: Path, *command: str, name: str = "app.ini") -> RuleResult:
    return ask(Settings(emperor_on_demand_exec=shlex.join(command)), make_vassal(name, folder=str(folder)))


def python(folder: Path, code: str) -> RuleResult:
    return run(folder, sys.executable, "-c", code)


def rejection(result: RuleResult) -> str:
    assert result.address is None
    assert result.is_invalid
    (problem,) = result.diagnostics
    assert problem.code == "rule-invalid"
    assert problem.vassal == "app.ini"
    assert problem.hint
    return problem.message


@pytest.mark.parametrize(
    ("content", "address"),
    [
        (b"/run/a.sock", "/run/a.sock"),
        (b"/run/a.sock\n", "/run/a.sock"),
        (b"/run/a.sock\r\n", "/run/a.sock"),
        (b"  /run/a.sock  \n\n", "/run/a.sock"),
        (b":9000", ":9000"),
        (b"@app\n", "@app"),
        (b"/run/a b.sock\n", "/run/a b.sock"),
        ("/run/é".encode(), "/run/é"),
    ],
)
def test_a_rule_files_address(tmp_path: Path, content: bytes, address: str) -> None:
    assert rule_file(tmp_path, content) == by_file(tmp_path, parse_address(address, base="/"))


def test_a_relative_address_is_below_the_vassals_folder(tmp_path: Path) -> None:
    assert rule_file(tmp_path, b"a.sock").address == UnixAddress(f"{tmp_path}/a.sock")


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n", b"   ", b"\n \n"])
def test_an_empty_rule_file_means_always(tmp_path: Path, content: bytes) -> None:
    assert rule_file(tmp_path, content) == by_file(tmp_path)


def test_no_rule_file_means_always(tmp_path: Path) -> None:
    assert ask(BY_EXTENSION, make_vassal(folder=str(tmp_path))) == by_file(tmp_path)


@pytest.mark.parametrize(("content", "address"), [(b"/run/a\n/run/b\n", "/run/a"), (b"\n/run/b", "")])
def test_more_lines_are_told_of(tmp_path: Path, content: bytes, address: str) -> None:
    result = rule_file(tmp_path, content)
    assert result.address == (UnixAddress(address) if address else None)
    assert not result.is_invalid
    (problem,) = result.diagnostics
    assert (problem.code, problem.line, problem.severity) == ("rule-more-lines", 2, Severity.WARNING)
    assert problem.path == f"{tmp_path}/app.ini.socket"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"/run/a\tb", "control character"),
        (b"/run/a\x7f", "control character"),
        (b"/run/a\x1b[2J\n", "control character"),
        (b"/run/a\0b", "control character"),
        (b"/run/a\rb\n", "control character"),
        (b"\xff", "UTF-8"),
        (b"9000", "is a number"),
        (b":70000", "out of range"),
        (b"/run/a\\", "backslash"),
        (b"/" + b"a" * 107, "108 bytes"),
        (b"a" * (RULE_FILE_MAX + 1), f"larger than {RULE_FILE_MAX}"),
    ],
)
def test_wrong_rule_files(tmp_path: Path, content: bytes, why: str) -> None:
    result = rule_file(tmp_path, content)
    assert why in rejection(result)
    assert result.diagnostics[0].path == f"{tmp_path}/app.ini.socket"
    assert str(result.diagnostics[0]).isprintable()


def test_a_fifo_as_rule_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "app.ini.socket")
    assert "not a regular file" in rejection(ask(BY_EXTENSION, make_vassal(folder=str(tmp_path))))


def test_a_directory_as_rule_file(tmp_path: Path) -> None:
    (tmp_path / "app.ini.socket").mkdir()
    assert "not a regular file" in rejection(ask(BY_EXTENSION, make_vassal(folder=str(tmp_path))))


def test_a_loop_of_links_as_rule_file(tmp_path: Path) -> None:
    (tmp_path / "app.ini.socket").symlink_to("app.ini.socket")
    assert "symbolic links" in rejection(ask(BY_EXTENSION, make_vassal(folder=str(tmp_path))))


@pytest.mark.parametrize(
    ("directory", "name", "address"),
    [
        ("/run/apps", "app.ini", "/run/apps/app.socket"),
        ("/run/apps//", "app.ini", "/run/apps/app.socket"),
        ("/", "app.ini", "/app.socket"),
        ("/run", "a.b.ini", "/run/a.b.socket"),
        ("/run", "..ini", "/run/..socket"),
        ("run", "app.ini", "/v/run/app.socket"),
        ("/run", "a b%$.ini", "/run/a b%$.socket"),
    ],
)
def test_the_directory_rule(directory: str, name: str, address: str) -> None:
    settings = Settings(emperor_on_demand_directory=directory)
    assert ask(settings, make_vassal(name)) == RuleResult(address=UnixAddress(address), is_admins=True)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("/run/a\nb", "control character"),
        ("/run/a ", "white space"),
        ("/run/a\\", "backslash"),
        ("/run/\udcff", "UTF-8"),
    ],
)
def test_an_address_that_no_unit_can_hold(text: str, why: str) -> None:
    vassal = make_vassal()
    assert why in rejection(_address_of(text, vassal, vassal.config.path))


@pytest.mark.parametrize(("directory", "why"), [("/run/a\nb", "control character"), ("/run/\udcff", "UTF-8")])
def test_a_folder_of_sockets_that_no_unit_can_hold(directory: str, why: str) -> None:
    assert why in rejection(ask(Settings(emperor_on_demand_directory=directory), make_vassal()))


@pytest.mark.parametrize("folder", [" v", "v "])
def test_blanks_inside_an_address_are_no_obstacle(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    assert rule_file(tmp_path / folder, b"a.sock").address == UnixAddress(f"{tmp_path}/{folder}/a.sock")


def test_the_directory_rule_with_too_long_a_path() -> None:
    assert "bytes" in rejection(ask(Settings(emperor_on_demand_directory="/" + "d" * 100), make_vassal()))


def test_the_rules_come_in_the_emperors_order(tmp_path: Path) -> None:
    (tmp_path / "app.ini.socket").write_text("@extension")
    vassal = make_vassal(folder=str(tmp_path))
    command = "echo @exec"
    extension = Settings(
        emperor_on_demand_extension=".socket", emperor_on_demand_directory="/d", emperor_on_demand_exec=command
    )
    directory = Settings(emperor_on_demand_directory="/d", emperor_on_demand_exec=command)
    assert str(ask(extension, vassal).address) == "@extension"
    assert str(ask(directory, vassal).address) == "/d/app.socket"
    assert str(ask(Settings(emperor_on_demand_exec=command), vassal).address) == f"@exec {vassal.config.path}"
    assert ask(Settings(), vassal) == RuleResult()
    # Only one is used, even where it says nothing.
    (tmp_path / "app.ini.socket").unlink()
    assert ask(extension, vassal) == by_file(tmp_path)


def test_a_commands_address(tmp_path: Path) -> None:
    assert python(tmp_path, "print('/run/a.sock')") == RuleResult(address=UnixAddress("/run/a.sock"))


def test_a_command_that_prints_nothing_means_always(tmp_path: Path) -> None:
    assert run(tmp_path, "true") == RuleResult()


def test_no_shell_reads_the_vassals_name(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    folder.mkdir()
    name = "a $(touch x) `touch y` \"'; touch z.ini"
    code = "import sys, pathlib; pathlib.Path('../seen').write_text(sys.argv[1]); print('@a')"
    result = run(folder, sys.executable, "-c", code, name=name)
    assert str(result.address) == "@a"
    assert (tmp_path / "seen").read_text() == f"{folder}/{name}"
    assert list(folder.iterdir()) == []


def test_no_shell_reads_the_command(tmp_path: Path) -> None:
    result = ask(Settings(emperor_on_demand_exec="echo '@a $(id)' | cat;"), make_vassal(folder=str(tmp_path)))
    assert str(result.address) == f"@a $(id) | cat; {tmp_path}/app.ini"


def test_the_answers_are_in_the_order_of_the_vassals(tmp_path: Path) -> None:
    vassals = [make_vassal(f"{n}.ini", folder=str(tmp_path)) for n in range(20)]
    code = "import sys; print('@' + sys.argv[1].rpartition('/')[2])"
    results = apply_on_demand_rule(Settings(emperor_on_demand_exec=shlex.join([sys.executable, "-Sc", code])), vassals)
    assert [str(r.address) for r in results] == [f"@{n}.ini" for n in range(20)]


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import sys; print('@a'); sys.exit('first\\nno such \\x1b app')", "exited with status 1: no such \\x1b app"),
        ("raise SystemExit(26)", "exited with status 26"),
        ("import os; os.kill(os.getpid(), 9)", "was killed by SIGKILL"),
        ("import os; os.kill(os.getpid(), 40)", "was killed by signal 40"),
        ("print('x' * 1_000_000)", f"printed more than {EXEC_OUTPUT_MAX} bytes"),
        ("print('@a\\tb')", "control character"),
        ("import sys; sys.stdout.buffer.write(b'\\xff')", "UTF-8"),
    ],
)
def test_commands_that_fail(tmp_path: Path, code: str, why: str) -> None:
    assert why in rejection(python(tmp_path, code))


@pytest.mark.parametrize(
    ("command", "why"), [("/nowhere/cmd", "No such file"), ("/etc", "Permission denied"), ("a\0b", "null byte")]
)
def test_commands_that_cannot_be_started(tmp_path: Path, command: str, why: str) -> None:
    message = rejection(run(tmp_path, command))
    assert "cannot be started" in message
    assert why in message


@pytest.mark.parametrize(
    "command",
    [
        "sleep 60",
        "exec >&-; sleep 60",
        "echo @a; sleep 60",
        "sleep 60 & echo @a",
        "setsid sleep 3 & echo @a",
        "trap '' TERM INT; sleep 60",
    ],
)
def test_commands_that_take_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setattr(on_demand, "EXEC_TIMEOUT", 0.2)
    began = time.monotonic()
    assert "did not end within 0.2 s" in rejection(run(tmp_path, "sh", "-c", command))
    assert time.monotonic() - began < 2


def test_a_background_child_is_no_obstacle_without_the_output(tmp_path: Path) -> None:
    result = run(tmp_path, "sh", "-c", "sleep 0.3 >/dev/null 2>&1 & echo @a")
    assert str(result.address) == "@a"


@pytest.mark.parametrize(("command", "why"), [("'", "cannot be split"), ("   ", "is empty")])
def test_a_command_that_is_none(command: str, why: str) -> None:
    with pytest.raises(BridgeError, match=why) as caught:
        apply_on_demand_rule(Settings(emperor_on_demand_exec=command), [make_vassal()])
    assert caught.value.diagnostic.code == "settings"


# The files that the rule is read from.


def test_a_rule_file_that_is_a_link_has_its_targets_as_sources(tmp_path: Path) -> None:
    (tmp_path / "addr").write_text("@a\n")
    (tmp_path / "step").symlink_to("addr")
    (tmp_path / "app.ini.socket").symlink_to("step")
    result = ask(BY_EXTENSION, make_vassal(folder=str(tmp_path)))
    assert str(result.address) == "@a"
    assert result.sources == tuple(f"{tmp_path}/{name}" for name in ("app.ini.socket", "step", "addr"))


def test_a_rule_file_that_links_to_nothing_means_always_until_its_target_is_there(tmp_path: Path) -> None:
    (tmp_path / "app.ini.socket").symlink_to("addr")
    result = ask(BY_EXTENSION, make_vassal(folder=str(tmp_path)))
    assert result == RuleResult(sources=(f"{tmp_path}/app.ini.socket", f"{tmp_path}/addr"))


def test_an_invalid_rule_file_has_its_sources(tmp_path: Path) -> None:
    result = rule_file(tmp_path, b"9000")
    assert result.is_invalid
    assert result.sources == (f"{tmp_path}/app.ini.socket",)


@pytest.mark.parametrize(
    "settings", [Settings(), Settings(emperor_on_demand_directory="/d"), Settings(emperor_on_demand_exec="echo @a")]
)
def test_other_rules_read_no_file(settings: Settings) -> None:
    assert ask(settings, make_vassal(folder="/tmp")).sources == ()


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b'"/run/a.sock"', "write /run/a.sock"),
        (b"socket = /run/a.sock\n", "write /run/a.sock"),
        (b"/run/a.sock # the app's\n", "write /run/a.sock"),
        (b"~/run/a.sock", "write /root/run/a.sock"),
        (b"$HOME/run/a.sock", "write /root/run/a.sock"),
        (b"$XDG_RUNTIME_DIR/a.sock", "write the address alone, as in /run/app.sock"),
    ],
)
def test_addresses_written_for_another_reader(tmp_path: Path, content: bytes, hint: str) -> None:
    found = rule_file(tmp_path, content)
    rejection(found)
    assert found.diagnostics[0].hint == hint
    assert (found.diagnostics[0].path, found.diagnostics[0].line) == (f"{tmp_path}/app.ini.socket", 1)


def test_a_command_prints_an_address_for_another_reader(tmp_path: Path) -> None:
    assert "quotes" in rejection(python(tmp_path, "print('\"/run/a.sock\"')"))
    assert python(tmp_path, "print('/run/$HOME # 1.sock')").address == UnixAddress("/run/$HOME # 1.sock")


def test_a_folder_written_for_a_shell() -> None:
    for folder, meant in (("~/run", "/root/run"), ("$HOME/run", "/root/run"), ("'/run'", "/run")):
        found = ask(Settings(emperor_on_demand_directory=folder), make_vassal())
        assert f"emperor-on-demand-directory {folder!r} has " in rejection(found)
        assert found.diagnostics[0].hint == f"write emperor-on-demand-directory = {meant}"


def row_says(settings: Settings, address: str | None, folder: Path) -> RuleResult:
    row = VassalRow(note=f"{folder}/note", address=address)
    return ask(settings, replace(make_vassal(folder=str(folder)), origin="pg:x app.ini", row=row))


@pytest.mark.parametrize("settings", [BY_EXTENSION, Settings(emperor_on_demand_directory="/other"), Settings()])
def test_a_rows_address_is_the_rule(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "app.ini.socket").write_text("/run/other.sock")
    found = row_says(settings, "/run/app.sock", tmp_path)
    assert found == RuleResult(address=UnixAddress("/run/app.sock"), sources=(f"{tmp_path}/note",))
    assert row_says(settings, "", tmp_path) == RuleResult(sources=(f"{tmp_path}/note",))


def test_a_row_can_leave_it_to_the_rule_in_force(tmp_path: Path) -> None:
    (tmp_path / "app.ini.socket").write_text("/run/app.sock")
    found = row_says(BY_EXTENSION, None, tmp_path)
    assert found.address == UnixAddress("/run/app.sock")
    assert found.sources == (f"{tmp_path}/note", f"{tmp_path}/app.ini.socket")


def test_a_bad_address_names_the_row(tmp_path: Path) -> None:
    found = row_says(Settings(), "127.0.0.1:99999", tmp_path)
    assert found.is_invalid
    assert str(found.diagnostics[0]).startswith("pg:x app.ini: error: ")


def test_the_rule_files_of_many_are_read_in_another_process_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vassals = [make_vassal(f"{number}.ini", folder=str(tmp_path)) for number in range(8)]
    for number, text in enumerate(("/run/0.sock", "", "~/3.sock", "@4", ":99999", "@6")):
        (tmp_path / f"{number}.ini.socket").write_text(text)
    alone = apply_on_demand_rule(BY_EXTENSION, vassals)
    begun = note_children(monkeypatch)
    monkeypatch.setattr(on_demand, "_MANY", 8)
    assert apply_on_demand_rule(BY_EXTENSION, vassals) == alone
    assert len(begun) == 1
    apply_on_demand_rule(BY_EXTENSION, vassals[1:])
    for settings in (Settings(), Settings(emperor_on_demand_directory="/run"), Settings(emperor_on_demand_exec="true")):
        apply_on_demand_rule(settings, vassals)
    assert len(begun) == 1
