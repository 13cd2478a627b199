"""What must hold for every hostile input. Each function takes a value of a strategy, and raises if something does not.

No exception may escape but those that the bridge reports, nothing takes long, no problem is long or holds a character
that a terminal obeys, and a unit has no other directives than those of a vassal that is harmless.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import tempfile
import time
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import replace
from io import StringIO
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote_to_bytes

from jeepney import DBusAddress, new_signal

from bridge.cli import output
from bridge.config.emperor_ini import read_emperor_ini
from bridge.config.settings import OwnSocketsMode, Settings, merge, read_toml
from bridge.diagnostics import BridgeError, Diagnostic, printable
from bridge.lifecycle.history import make_histories, parse_entry
from bridge.model.address import (
    AbstractAddress,
    AddressError,
    InetAddress,
    UnixAddress,
    overlaps,
    parse_address,
    parse_uwsgi_socket,
)
from bridge.model.unit import Ownership
from bridge.model.unit_names import EscapeError, is_bridge_name
from bridge.model.vassal import ConfigFile, SocketAccess
from bridge.monitors.directory import DirectoryMonitor
from bridge.monitors.glob import GlobMonitor
from bridge.reconcile.desired import Desired
from bridge.systemd.dbus_parser import Reader
from bridge.systemd.journal import JournalEntry, choose_reason
from bridge.units.directory import UnitDirectory, installed_vassals
from bridge.units.render import render
from bridge.uwsgi.options import ConfigError
from bridge.uwsgi.reader import ProcessView, read
from bridge.vassals.environment import Environments
from bridge.vassals.on_demand import apply_on_demand_rule
from bridge.vassals.resolve import Resolution, ResolveContext, resolve
from bridge.vassals.spawn import spawn_defaults
from bridge.vassals.tenant import make_boundary
from bridge.vassals.waiting import WaitingRules
from tests.unit.build import World, as_is, context, make_paths

from .syntax import expand_specifiers, expand_variables, parse_unit, split_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bridge.model.address import Address
    from bridge.model.vassal import ResolvedVassal, Vassal
    from bridge.monitors.base import Monitor
    from bridge.reconcile.actual import ActualState
    from bridge.reconcile.steps import Plan

    from .strategies import Value

LONGEST = 5.0
"""Seconds of the processor's time that one input may take; most take a thousandth."""
PROBLEM_MAX = 10_000
"""Characters of one problem as it is printed."""
UNITS = frozenset({"Slice", "WantedBy", "OnFailure", "PartOf", "Wants", "Requires", "After", "Before"})
"""Directives that name units, here those of the bridge that a vassal is assigned to by its label."""
BRIDGES = re.compile(r"vassals[-@0-9a-z]*\.(slice|target|service)")
UNITS_KEPT = 40
rendered: list[dict[str, str]] = []
"""The units of the last hostile vassals, for systemd's own judgement."""
_SHARED_MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None


class TooSlowError(AssertionError):
    """An input took more of the processor's time than any may."""


@contextmanager
def bounded() -> Iterator[None]:
    """Assert that what is done takes no longer than one input may."""
    began = time.process_time()
    yield
    if (took := time.process_time() - began) > LONGEST:
        raise TooSlowError(f"it took {took:.1f} s")


@contextmanager
def folder() -> Iterator[Path]:
    """Yield a new folder, and remove it in the end."""
    made = tempfile.mkdtemp(prefix="bridge-fuzz-", dir=_SHARED_MEMORY)
    try:
        yield Path(made)
    finally:
        shutil.rmtree(made)


def put(path: Path, text: str) -> None:
    """Write a file whose text may have bytes that are not UTF-8."""
    path.write_bytes(text.encode("utf-8", "surrogateescape"))


def put_around(root: Path, files: Mapping[str, str]) -> None:
    """Write the files that a config may include, links that fan out, and a pipe."""
    for name, text in files.items():
        put(root / name, text)
    os.mkfifo(root / "fifo")
    (root / "l0").symlink_to(".")
    for number in range(1, 31):
        (root / f"l{number}").symlink_to(f"l{number - 1}/l{number - 1}")


def check_problem(problem: Diagnostic | ConfigError | BridgeError) -> None:
    """Assert that a problem can be printed on one line of a terminal."""
    if isinstance(problem, ConfigError):
        problem = Diagnostic(code="x", path=problem.path, line=problem.line, message=problem.message, hint=problem.hint)
    if isinstance(problem, BridgeError):
        problem = problem.diagnostic
    assert problem.code != "internal", problem.message
    text = str(problem)
    assert text.isprintable(), f"it would reach a terminal: {text!r}"
    assert len(text) <= PROBLEM_MAX, f"a problem of {len(text)} characters: {text[:200]}…"
    text.encode()


# Configs


def check_config(value: Value) -> None:
    """Read a config with what is around it."""
    with folder() as root:
        put_around(root, value["files"])
        path = root / f"app.{value['kind']}"
        put(path, value["text"])
        read_config(path, environ=value["environ"], before=[tuple(pair) for pair in value["before"]])


def check_large(value: Value) -> None:
    """Read a config that is one line many times."""
    with folder() as root:
        path = root / f"app.{value['kind']}"
        put(path, value["head"] + value["line"] * value["times"] + value["tail"])
        read_config(path)


def read_config(path: Path, *, environ: Mapping[str, str] | None = None, before: list[Any] | None = None) -> None:
    """Read a config; assert that it was refused, or gave options that are texts with a place."""
    view = ProcessView(environ=environ or {}, cwd=str(path.parent), before=before or ())
    try:
        with bounded():
            found = read(str(path), view)
    except ConfigError as error:
        check_problem(error)
        return
    for option in (*found.options, *found.unread):
        assert option.path, option
        assert option.line >= 1, option
        assert "\0" not in option.key + option.value, option


# Vassals


def check_vassal(value: Value) -> None:
    """Take a vassal from its folder to its units, and read those as systemd does."""
    with folder() as root:
        home = root / value["folder"]
        home.mkdir()
        put_around(home, value["files"])
        path = home / value["name"]
        if path.is_symlink() or path.exists():
            return
        put(path, value["text"])
        if value["rule"] is not None and len(os.fsencode(value["name"])) < 248:
            put(home / f"{value['name']}.socket", value["rule"])
        if os.geteuid() == 0:
            os.chown(path, *value["owner"])
        try:
            with bounded():
                serve(home, value)
        except BridgeError as error:
            check_problem(error)


def serve(home: Path, value: Value) -> None:
    """Do what a run does for the vassals of one folder, as far as their units' texts."""
    given = {name: tuple(one) if isinstance(one, list) else one for name, one in value["settings"].items()}
    settings = merge([{"emperor_on_demand_extension": ".socket", "binary_path": "/bin/true", **given}])
    monitor: Monitor = (
        GlobMonitor(f"{home.parent}/*/*", settings) if value["glob"] else DirectoryMonitor(str(home), settings)
    )
    report = monitor.report()
    for problem in report.diagnostics:
        check_problem(problem)
    defaults = spawn_defaults(settings, user_manager=False)
    vassals = list(report.vassals)
    for vassal, rule in zip(vassals, apply_on_demand_rule(settings, vassals), strict=True):
        for problem in rule.diagnostics:
            check_problem(problem)
        if not rule.is_invalid:
            environments = Environments(None, user_manager=False)
            mode = OwnSocketsMode(settings.on_demand_own_sockets)
            run = ResolveContext(defaults, environments, WaitingRules(as_is, make_boundary(settings), mode))
            check_units(vassal, resolve(vassal, rule, run), value)


def check_units(vassal: Vassal, result: Resolution, value: Value) -> None:
    """Render a vassal, and compare its units with those of a harmless twin."""
    for problem in (*result.problems, *result.warnings):
        check_problem(problem)
    resolved = result.resolved
    if resolved is None:
        assert result.problems
        return
    assert resolved.vassal == vassal
    if resolved.spawn.tenant is not None and os.geteuid() == 0 and vassal.name == value["name"]:
        uid, gid = value["owner"]
        assert (resolved.spawn.tenant, resolved.spawn.user, resolved.spawn.group) == (uid, str(uid), str(gid))
    try:
        texts = render(resolved, context())
    except EscapeError as error:
        check_problem(Diagnostic(code="unit-value", message=str(error)))
        return
    except BridgeError as error:
        raise AssertionError(f"a template of the bridge's own is at fault: {error}") from error
    harmless = twin(resolved)
    for (unit, text), (_, other) in zip(texts.items(), render(harmless, context()).items(), strict=True):
        assert len(unit) <= 255
        assert is_bridge_name(unit)
        compare(text, other, resolved)
    check_printed(texts)
    rendered.append(texts)
    del rendered[:-UNITS_KEPT]


def check_printed(texts: dict[str, str]) -> None:
    """Assert that `render` and `sync --dry-run` print nothing that a terminal obeys."""
    plan = cast("Plan", SimpleNamespace(write=texts, remove=(), stop=tuple(texts), start=tuple(texts), reload=()))
    with redirect_stdout(StringIO()) as printed:
        output.print_units(texts)
        output.print_diff(plan, cast("ActualState", SimpleNamespace(files={})))
    lines = printed.getvalue().split("\n")
    assert all(line.isprintable() for line in lines), "it would reach a terminal"
    assert len(lines) <= 4 * sum(text.count("\n") + 5 for text in texts.values())


def twin(resolved: ResolvedVassal) -> ResolvedVassal:
    """Return a vassal of the same form with nothing awkward in it."""

    def words(given: tuple[str, ...]) -> tuple[str, ...]:
        return tuple("/bin/x" if not number else "w" for number, _ in enumerate(given))

    spawn, owner = resolved.spawn, resolved.vassal.config.owner
    vassal = replace(resolved.vassal, name="t.ini", config=ConfigFile("/v/t.ini", owner), monitor="m", label="t")
    addresses = tuple(map(harmless_address, resolved.addresses))
    return replace(
        resolved,
        vassal=replace(vassal, directory="/v", origin=""),
        addresses=addresses,
        canonical_addresses=addresses,
        access=SocketAccess(mode="0660", user=resolved.access.user and "u", group=resolved.access.group and "g"),
        spawn=replace(
            spawn, argv=words(spawn.argv), environment=tuple("A=b" for _ in spawn.environment), user=spawn.user and "u",
            group=spawn.group and "g", start_hook=words(spawn.start_hook), stop_hook=words(spawn.stop_hook),
            capabilities=tuple("CAP_KILL" for _ in spawn.capabilities),
        ),
    )  # fmt: skip


def harmless_address(address: Address) -> Address:
    """Return an address of the same kind."""
    match address:
        case UnixAddress():
            return UnixAddress("/run/t")
        case AbstractAddress():
            return AbstractAddress("t")
        case InetAddress() if not address.ip.is_unspecified:
            return InetAddress(ip_address("127.0.0.1"), 1)
        case _:
            return address


def compare(text: str, other: str, resolved: ResolvedVassal) -> None:
    """Assert that a unit has the directives of its twin, each with a value that the vassal really has."""
    units = parse_unit(text), parse_unit(other)
    assert [line[:2] for line in units[0]] == [line[:2] for line in units[1]], "a directive more or less"
    known = texts_of(resolved)
    for line, benign in zip(*units, strict=True):
        if line.value == benign.value:
            continue
        if line.section == "X-EmperorBridge":
            fact = json.loads(line.value)
            assert fact in known or fact.startswith("vassal-"), line
        elif line.key.startswith("Exec"):
            check_words(line.value, benign.value, known)
        elif line.key == "Environment":
            assert [expand_specifiers(word) for word in split_words(line.value)] in [[one] for one in known], line
        elif line.key == "Documentation":
            (url,) = map(expand_specifiers, split_words(line.value))
            assert re.fullmatch(r"file:///[!-~]*", url), line
            assert os.fsdecode(unquote_to_bytes(url.removeprefix("file://"))) in known, line
        elif line.key in UNITS:
            assert BRIDGES.fullmatch(line.value), line
        elif line.key not in {"CapabilityBoundingSet", "SocketMode"}:
            assert expand_specifiers(line.value).removeprefix("-") in known, line


def check_words(line: str, benign: str, known: set[str]) -> None:
    """Assert that a command line has as many words as its twin's, and that each is the vassal's."""
    words, others = split_words(line), split_words(benign)
    assert len(words) == len(others) or "vassals-pause" in line, f"{len(words)} words: {line}"
    for word, other in zip(words, others, strict=False):
        if word != other:
            meant = expand_variables(expand_specifiers(word))
            assert meant in known or meant.lstrip("-+:!@") in known or meant.startswith("pause-"), line


def texts_of(resolved: ResolvedVassal) -> set[str]:
    """Return every text that may stand in a vassal's units, and nothing else may."""
    vassal, spawn, access = resolved.vassal, resolved.spawn, resolved.access
    names = printable(vassal.name)
    return {
        *(vassal.name, vassal.config.path, vassal.monitor, vassal.directory, *map(str, resolved.addresses)),
        *(
            f"uWSGI vassal {names}",
            f"Socket of uWSGI vassal {names}",
            access.user,
            access.group,
            spawn.user,
            spawn.group,
        ),
        *(*spawn.argv, *spawn.environment, *spawn.start_hook, *spawn.stop_hook),
        *(str(vassal.config.owner.uid), str(vassal.config.owner.gid), str(spawn.tenant)),
    }


# What the admin writes


def check_toml(text: Value) -> None:
    """Read a bridge.toml, and use what it says."""
    with folder() as root:
        path = root / "bridge.toml"
        put(path, text)
        try:
            with bounded():
                values, _ = read_toml(path)
                use_settings(merge([values]))
        except BridgeError as error:
            check_problem(error)


def check_emperor_ini(text: Value) -> None:
    """Read an Emperor's config, and use what it says."""
    with folder() as root:
        put_around(root, {})
        path = root / "emperor.ini"
        put(path, text)
        try:
            with bounded():
                found = read_emperor_ini(str(path))
                for notice in (*found.notices, *found.brief_notices):
                    check_problem(notice)
                use_settings(merge([found.values]))
        except BridgeError as error:
            check_problem(error)


def check_settings(value: Value) -> None:
    """Use settings of any values."""
    given = {name: tuple(one) if isinstance(one, list) else one for name, one in value.items()}
    try:
        use_settings(merge([given]))
    except BridgeError as error:
        check_problem(error)


def use_settings(settings: Settings) -> None:
    """Do what a command does with its settings before it looks at a vassal."""
    from bridge.monitors import open_monitors

    for monitor in open_monitors(settings):
        monitor.close()
    spawn_defaults(settings, user_manager=False)
    apply_on_demand_rule(settings, [])


def check_address(text: Value) -> None:
    """Parse a text as an address of a rule and of a config."""
    for parse in (parse_address, parse_uwsgi_socket):
        try:
            found = parse(text, base="/v")
        except AddressError as error:
            check_problem(Diagnostic(code="x", message=str(error), hint=error.hint))
            continue
        if found is not None:
            again = parse_address(str(found), base="/elsewhere")
            assert again == found, f"{again} is not {found}"
            assert overlaps(found, again)


# What lies on the disk, in the journal, and comes over the bus


def check_unit_files(files: Value) -> None:
    """Read unit files of any text, and plan to remove all vassals."""
    with folder() as root:
        paths = make_paths(root)
        os.makedirs(paths.unit_directory)
        texts = {}
        for name, text in files:
            put(Path(paths.unit_directory) / name, text)
            texts[name] = text
        with bounded():
            directory = UnitDirectory(paths)
            found = directory.files()
            installed = installed_vassals(found, as_is)
            directory.labels()
    ours = {name for name, file in found.items() if file.ownership is Ownership.OURS}
    assert {unit for one in installed.values() for unit in one.units} <= ours
    for name in ours:
        assert f"Unit={json.dumps(name)}" in texts[name].replace("Unit =", "Unit=")
    world = World(files={name: text for name, text in texts.items() if name in ours})
    plan = world.plan(Desired())
    assert set(plan.remove) <= ours
    for change in plan.changes:
        assert printable(str(change)).isprintable()


def check_journal(entries: Value) -> None:
    """Tell vassals' histories and the reason of a failure from entries of any fields."""
    found = [
        JournalEntry({**one["more"], "MESSAGE_ID": one["MESSAGE_ID"], "UNIT": one["UNIT"]}, one["written"])
        for one in entries
    ]
    with bounded():
        parsed = [entry for one in found if (entry := parse_entry(one, user_manager=False))]
        for history in make_histories(parsed).values():
            assert history.wakes >= 0
        for one in found:
            bare = {name: text for name, text in one.fields.items() if name != "MESSAGE_ID"}
            assert isinstance(choose_reason("vassal-a.service", [JournalEntry(bare), one]), str)


_SIGNAL = DBusAddress("/org/freedesktop/systemd1", "org.freedesktop.systemd1", "org.freedesktop.DBus.Properties")


def check_bus(value: Value) -> None:
    """Decode a message of hostile texts, whole, and with some bytes changed.

    A broken message may be refused in any way that ends: dbus-daemon passes none on.
    """
    texts = value["texts"]
    parser = Reader({texts[0], "ActiveState"})
    raw = bytes.fromhex(value["raw"]) if value["raw"] is not None else message_of(value["signature"], texts)
    edited = bytearray(raw)
    for at, byte in value["edits"]:
        if edited:
            edited[at % len(edited)] = byte
    with bounded(), suppress(ValueError, LookupError, TypeError, struct.error, AssertionError, OverflowError):
        parser.add_data(bytes(edited))
        parser.get_next_message()
    if bytes(edited) == raw and value["raw"] is None:
        whole = Reader({texts[0], "ActiveState"})
        whole.add_data(raw)
        message = whole.get_next_message()
        assert message is not None
        assert len(message.body) in {1, 3}


def message_of(signature: str, texts: list[str]) -> bytes:
    """Return a message of the service manager's, with these texts in it."""
    first = texts[0]
    body: tuple[Any, ...]
    match signature:
        case "a(ssssssouso)":
            body = ([(text, first, first, first, first, first, "/a", 7, text, "/b") for text in texts],)
        case "sa{sv}as":
            body = (first, {text: ("as", texts) if number else ("s", text) for number, text in enumerate(texts)}, texts)
        case _:
            signature, body = "s", (first,)
    raw: bytes = new_signal(_SIGNAL, "Changed", signature, body).serialise(serial=1)
    return raw


CHECKS: dict[str, Callable[[Value], None]] = {
    "config": check_config,
    "large": check_large,
    "vassal": check_vassal,
    "toml": check_toml,
    "emperor-ini": check_emperor_ini,
    "settings": check_settings,
    "address": check_address,
    "unit-files": check_unit_files,
    "journal": check_journal,
    "bus": check_bus,
}
"""The properties by the names of what they are about; the cases of each are in a folder of that name."""
