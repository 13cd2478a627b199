"""The manual pages have every command, option, setting, event and code that exists, once, and no other."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from bridge.check.socket_table import SocketRow
from bridge.cli import output
from bridge.config.load import USUAL_EMPEROR_INIS
from bridge.config.monitor_tables import MonitorTable
from bridge.config.paths import make_paths
from bridge.config.settings import NAMES, SETTINGS
from bridge.diagnostics import Diagnostic
from bridge.feeder import amqp_options
from bridge.feeder.amqp_options import AmqpOptions
from bridge.lifecycle.events import EXILE, MESSAGE_IDS, PROBLEM_ID, Ending, Event, LifecycleEvent
from bridge.lifecycle.journal import tell, tell_run
from bridge.model.change import Change, Verb
from bridge.model.vassal import Way
from bridge.monitors import mongodb
from bridge.status.table import Row, State
from tests.unit.commands import COMMANDS

from .build import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable

FOLDER = ROOT / "packaging/man"
PAGES = sorted(FOLDER.iterdir())
WORDS_MAX = 25
CODE = re.compile(r"[a-z]+(-[a-z]+)+|masked|batch|lock|manager|settings|template|daemonize|internal")
TELLERS = {"problem", "_problem", "_warn", "_near", "reject", "_find", "_reject", "_error", "SpecWarning"}
TELLERS |= {"add_bad", "refuse", "refusal", "warn", "note"}
"""What is given a code: the second line is that of the feeders."""
COMPUTED = {"not-listening", "not-running", "uid-impossible", "gid-impossible", "unit-masked"}
"""Codes that are put together or chosen before they are used."""


def page(name: str) -> str:
    return (FOLDER / name).read_text("utf-8")


def section(text: str, title: str) -> str:
    """Return one section of a page."""
    return text.partition(f"\n.SH {title}\n")[2].partition("\n.SH ")[0]


def subsection(text: str, title: str) -> str:
    """Return one part of a section."""
    return text.replace("\\-", "-").partition(f"\n.SS {title}\n")[2].partition("\n.SS ")[0].partition("\n.SH ")[0]


def headings(text: str) -> list[str]:
    """Return the headings of the entries of a list, as they are read."""
    found = re.findall(r"^\.TP\n(\.[A-Z]+ .+)$", text, re.MULTILINE)
    return [plain(heading) for heading in found]


def entries(text: str) -> list[str]:
    """Return the names in the headings, of which each can have several."""
    return [name for heading in headings(text) for name in heading.split(", ")]


def plain(line: str) -> str:
    """Return a line of roff as it is read."""
    macro = re.match(r"\.([A-Z]+) ?(.*)", line)
    if macro:
        words = [quoted or bare for quoted, bare in re.findall(r'"([^"]*)"|(\S+)', macro[2])]
        line = ("" if macro[1] in {"BR", "BI", "IR", "RI", "RB"} else " ").join(words)
    return line.replace("\\-", "-").replace("\\e", "\\").replace("\\~", " ").replace("\\(dq", '"').replace("\\(bu", "")


def prose(text: str) -> list[str]:
    """Return the paragraphs of a page, without what stands as it is."""
    paragraphs: list[list[str]] = [[]]
    is_literal = False
    for line in text.splitlines():
        if line in {".nf", ".fi"}:
            is_literal = line == ".nf"
        if is_literal or re.match(r"\.(nf|fi|TH|SH|SS|PP|IP|TP|br)\b", line):
            paragraphs.append([])
        elif (
            paragraphs[-1] == [] and line.startswith((".B ", ".BI ", ".BR ", ".I ", ".IR ")) and is_heading(text, line)
        ):
            continue
        else:
            paragraphs[-1].append(plain(line))
    return [" ".join(lines) for lines in paragraphs if lines]


def is_heading(text: str, line: str) -> bool:
    return f".TP\n{line}\n" in text


def codes_in_use() -> set[str]:
    found = set(COMPUTED)
    for path in (ROOT / "bridge").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            given = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            if name in TELLERS:
                given += node.args
            found |= {str(g.value) for g in given if isinstance(g, ast.Constant) and CODE.fullmatch(str(g.value))}
    return found


def test_every_code_is_in_the_manual_once() -> None:
    assert sorted(headings(page("emperor-bridge-codes.7"))) == sorted(codes_in_use())


def test_every_setting_is_in_the_manual_once() -> None:
    listed = headings(section(page("bridge.toml.5"), "SETTINGS"))
    names = [name for heading in listed for name in heading.removesuffix(" *").split(", ")]
    assert sorted(names) == sorted([*NAMES, "emperor-ini"])


def test_the_manual_marks_what_may_be_given_several_times() -> None:
    several = {setting.name for setting in SETTINGS if setting.multiple}
    for entries, prefix in (("bridge.toml.5", ""), ("emperor-bridge.1", "--")):
        marked = {h.split(",")[0].split()[0] for h in headings(page(entries)) if h.endswith(" *")}
        assert marked == {prefix + name for name in several}


def test_every_option_is_in_the_manual_once() -> None:
    text = page("emperor-bridge.1")
    entries = ("OPTIONS OF COMMANDS", "COMMON OPTIONS", "SETTINGS AS OPTIONS")
    listed = [heading for title in entries for heading in headings(section(text, title))]
    names = [name for heading in listed for name in re.findall(r"(?:^|(?<= ))--?[a-z][a-z-]*", heading)]
    assert sorted(names) == sorted(
        {name for options in (own, common) for name in options()} | {"--version", "-h", "--help"}
    )


def test_every_command_is_in_the_manual_with_its_options() -> None:
    listed = headings(section(page("emperor-bridge.1"), "COMMANDS"))
    assert sorted(listed) == sorted(synopsis(command) for command in COMMANDS.values())


def synopsis(command: click.Command) -> str:
    """Return a command with what it takes beside the common options."""
    words = [str(command.name)]
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            name = str(parameter.name).upper()
            words.append(name if parameter.required else f"[{name}]")
        elif not set(parameter.opts) & common():
            words.append(f"[{parameter.opts[0]}]")
    return " ".join(words)


def options_of(command: click.Command) -> set[str]:
    return {name for p in command.params if isinstance(p, click.Option) for name in p.opts}


def common() -> set[str]:
    """Return the options that all commands take that work on vassals."""
    return set.intersection(*(options for command in COMMANDS.values() if (options := options_of(command))))


def own() -> set[str]:
    """Return the options that only some commands take."""
    return set.union(*(options_of(command) for command in COMMANDS.values())) - common()


def keys_of(record: type) -> list[str]:
    return [field.name for field in fields(record)]


@pytest.mark.parametrize(
    ("title", "keys"),
    [
        ("sync --json", output.sync_json((), (), 0, dry_run=False)),
        ("A change", keys_of(Change)),
        ("A diagnostic", keys_of(Diagnostic)),
        ("check --sockets --json", keys_of(SocketRow)),
        ("status --json", ["version", *Row._fields]),
        ("The states of a vassal", list(State)),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_every_name_in_json_is_in_the_manual_once(title: str, keys: Iterable[str]) -> None:
    listed = entries(subsection(section(page("emperor-bridge.1"), "OUTPUT FOR SCRIPTS"), title))
    assert sorted(listed) == sorted(keys)


def test_the_values_and_the_version_of_json_are_in_the_manual() -> None:
    text = section(page("emperor-bridge.1"), "OUTPUT FOR SCRIPTS")
    assert f"This is version {output.STATUS_VERSION}.\n" in text
    for title, key, values in (("A change", "verb", Verb), ("check --sockets --json", "way", Way)):
        entry = subsection(text, title).partition(f".TP\n.I {key}\n")[2].partition(".TP\n")[0]
        named = [plain(line).strip(" ,.") for line in entry.splitlines() if line.startswith(".I")]
        assert sorted(named) == sorted(values)


def test_every_exit_status_is_in_the_manual() -> None:
    calls = [
        node
        for path in (ROOT / "bridge/cli").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "sys.exit"
    ]
    given = {c.value for call in calls for c in ast.walk(call) if isinstance(c, ast.Constant) and type(c.value) is int}
    known = {0, click.UsageError.exit_code} | given
    assert headings(section(page("emperor-bridge.1"), "EXIT STATUS")) == [str(status) for status in sorted(known)]


def test_every_variable_of_the_environment_is_in_the_manual() -> None:
    # What the feeders and the vassals get is not the admin's to set.
    code = "".join(path.read_text("utf-8") for path in (ROOT / "bridge").rglob("*.py") if path.parent.name != "feeder")
    used = set(re.findall(r"""os\.environ(?:\.get\(|\[)['"](\w+)['"]|['"](\w+)['"] in os\.environ""", code))
    listed = entries(section(page("emperor-bridge.1"), "ENVIRONMENT"))
    asked = {"PATH", "_EMPEROR_BRIDGE_COMPLETE"}
    assert sorted(listed) == sorted({name for pair in used for name in pair if name} | asked)


def test_every_file_is_in_the_manual() -> None:
    paths, brief = make_paths(user=False, runtime=False), make_paths(user=False, runtime=True)
    text = section(page("emperor-bridge.1"), "FILES")
    used = [
        paths.config,
        *paths.templates[:-1],
        *USUAL_EMPEROR_INIS,
        paths.unit_directory,
        paths.mirrors,
        paths.take_over,
    ]
    used.append(str(Path(paths.lock).parent))
    assert sorted(entries(text)) == sorted(used)
    assert f".IR {brief.unit_directory} ." in text


def test_every_key_of_a_monitor_is_in_the_manual_once() -> None:
    keys = [key.replace("_", "-") for key in keys_of(MonitorTable)]
    assert sorted(headings(section(page("bridge.toml.5"), "MONITORS"))) == sorted(keys)


def test_every_part_of_a_spec_is_in_the_manual_once() -> None:
    text = page("emperor-bridge-monitors.7")
    assert sorted(entries(subsection(text, "Parts of mongodb://"))) == sorted(mongodb._OWN)
    assert sorted(entries(subsection(text, "Parts of mongodb2://"))) == sorted(mongodb._KEYS)
    parameters = entries(subsection(text, "Parameters of the URL"))
    taken = amqp_options._query("&".join(f"{name}=1" for name in parameters))
    of_the_address = {"host", "port", "user", "password", "vhost", "is_tls"}
    assert sorted(taken) == sorted({*keys_of(AmqpOptions)} - of_the_address)
    assert len(parameters) == len(taken)


def test_every_default_of_rabbitmq_is_in_the_manual() -> None:
    text = subsection(page("emperor-bridge-monitors.7"), "Parameters of the URL")
    assert f"Default: {AmqpOptions().heartbeat}." in text
    assert f".IR {AmqpOptions().exchange} ." in text


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_names_only_commands_options_and_modules_that_exist(path: Path) -> None:
    lines = [plain(line).strip(' "') for line in path.read_text("utf-8").splitlines()]
    typed = [line.split("#")[0] for line in lines if re.search(r"(^|[|&] )emperor-bridge [a-z]", line)]
    for line in typed:
        command, *arguments = line.partition("emperor-bridge ")[2].partition("|")[0].split()
        # Where a line is prose, another word follows the name.
        known = COMMANDS.get(command.strip(".,;:)"))
        assert known, line
        used = {word.strip('.,;:)"') for word in arguments if word.startswith("--")}
        assert used <= options_of(known) | {"--help"}, line
    modules = re.findall(r"\bbridge/[a-z_/]+\.py", "\n".join(lines))
    assert [module for module in modules if not (ROOT / module).exists()] == []


def test_every_field_of_the_journal_is_in_the_manual_once(monkeypatch: pytest.MonkeyPatch) -> None:
    used: set[str] = set()
    monkeypatch.setattr("cysystemd.journal.send", lambda **fields: used.update(fields))
    ended = Ending(result="signal", killed_by=9).fields
    for user in (False, True):
        event = LifecycleEvent(label="a", unit="vassal-a.service", event=Event.CRASHED, text="", fields=ended)
        tell(event, vassal="a.ini", user_manager=user)
        changes = [Change(vassal="a.ini", unit="vassal-a.service", verb=verb) for verb in Verb]
        tell_run(changes, [Diagnostic(code="x", message="y", vassal="a.ini", detail="z")], user_manager=user)
    listed = headings(section(page("emperor-bridge.service.8"), "JOURNAL"))
    assert {"VASSAL", "EMPEROR_BRIDGE_CODE", "EXIT_STATUS"} <= used
    assert sorted(listed) == sorted(f"{name}=" for name in used - {"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER"})


def test_every_event_is_in_the_manual_with_its_message_id_in_its_order() -> None:
    entry = re.compile(r"^\.TP\n\.B (.+)\n(?:(?!\.TP).+\n)+?\.br\n\.I ([0-9a-f]{32})$", re.MULTILINE)
    rows = [(plain(name), number) for name, number in entry.findall(page("emperor-bridge.service.8"))]
    lives = [(str(event), number) for event, number in MESSAGE_IDS[Event].items()]
    assert rows == [*lives, *((str(verb), MESSAGE_IDS[Verb][verb]) for verb in Verb), ("refused", PROBLEM_ID)]
    numbers = re.findall(r"[0-9a-f]{32}", page("emperor-bridge.service.8"))
    assert set(numbers) == {number for _, number in rows}


def test_the_exile_of_the_manual_is_the_codes() -> None:
    text = page("emperor-bridge.1")
    assert re.findall(r"exits with status (\d+)\n[^.]*the Emperor's exile", text) == [str(EXILE)]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_is_valid(path: Path) -> None:
    environ = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "MANPAGER": "cat"}
    command = ["man", "--warnings=all", "--local-file", str(path)]
    run = subprocess.run(command, check=False, capture_output=True, text=True, env=environ)
    assert (run.returncode, run.stderr) == (0, "")
    assert path.name.rpartition(".")[0] in run.stdout


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_sentences_of_a_page_are_short(path: Path) -> None:
    sentences = [s for text in prose(path.read_text("utf-8")) for s in re.split(r"(?<=[.!?])\s", text)]
    assert sentences
    assert [s for s in sentences if len(s.split()) >= WORDS_MAX] == []


def test_a_page_refers_only_to_pages_that_exist() -> None:
    ours = {path.name for path in FOLDER.iterdir()}
    text = "".join(path.read_text("utf-8") for path in PAGES).replace("\\-", "-")
    named = {
        f"{name}.{number}" for name, number in re.findall(r"(emperor-bridge[a-z.-]*|bridge\.toml) ?\((\d)\)", text)
    }
    assert named
    assert named <= ours


def test_every_page_is_in_the_wheel() -> None:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    shipped = {source: target for source, target in table["shared-data"].items() if source.startswith("packaging/man/")}
    assert shipped == {
        f"packaging/man/{path.name}": f"share/man/man{path.name[-1]}/{path.name}" for path in FOLDER.iterdir()
    }
