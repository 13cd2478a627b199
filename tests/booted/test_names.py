"""Names that try to be something else reach systemd and uWSGI exactly, or are refused with the reason.

Seen beside a real Emperor 2.0.21 (`uwsgi --emperor DIR`, 63 vassals named as below): it served all but `a:b.ini`,
where uWSGI takes `b.ini` for a section of the file `a`. uWSGI's magic variables, placeholders and schemes (`%p`,
`$(HOME)`, `@(file)`) mean nothing in a config's name on its command line. What the bridge refuses beyond that, systemd
cannot hold.
"""

from __future__ import annotations

import base64
import json
import random
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from .bridge import VASSALS, Bridge, config
from .soak import FACTOR, seed
from .suite import PYTHON

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable

    from .machine import Machine

SOCKETS = "/run/names"
ODD_FOLDER = "/srv/odd %n $HOME \"q' ;#\\x é-"
# A slash is the one sign that no name can hold.
PLAIN = r"""a b/ lead/trail /  /p%n/p%%/%(x)/100%/%s.%i/%/$HOME/$(HOME)/${HOME}/d$/$$"""
QUOTED = r"""q"q/q'q/"/'/b\s/end\/\/\n/\x41/@(app.txt)"""
ODD = r"""@x/-lead/--help/-/../.../.  /.hid/a..b/a.b.c/s;c/;/h#c/#/[sec]/a=b/*/?/{a}/~/!x/+x/`id`/a|b&c"""
OTHERS = r"""<x>/a-b/a_b/A/a/é/日本"""
STEMS = [
    *(stem for stems in (PLAIN, QUOTED, ODD, OTHERS) for stem in stems.split("/")),
    ".",
    "\u202ex",
    "\u00a0",
    "\u2028l",
    "\ufeffbom",
    "\U0001f600",
]
NASTY = r"""%n/%/$HOME/$$/\/\x20/\n/"/'/ /;/#/=/[/]/{/}/@/~/-/:+/é/a/Z/9/_/./,"""
CONTROL = ["nl\nx", "\n", "tab\tx", "cr\rx", "esc\x1b[2Jx", "del\x7fx", "c1\x9bx"]
INJECTIONS = ["n\nExecStartPre=touch owned", "n\n[Service]\nUser=nobody", "n\\\nUser=nobody", 'n" "--set=x']
REFUSED = {"a:b": "':'", "\udcff\udcfe": "UTF-8", "x" * 246: "261 bytes", "": "no name before its extension"}
QUERY = r"""
import json, subprocess, sys
MANAGER = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
def busctl(*arguments):
    shown = subprocess.run(["busctl", "--json=short", *arguments], check=True, capture_output=True, text=True).stdout
    return [json.loads(line)["data"] for line in shown.split("\n")[:-1]]
((units,),) = busctl("call", *MANAGER, "ListUnitsByPatterns", "asas", "0", "1", "vassal-*")
found = {}
for unit in units:
    name, path = unit[0], unit[6]
    kind = "Socket" if name.endswith(".socket") else "Service"
    names = sys.argv[1 if kind == "Service" else 2].split()
    values = busctl("get-property", MANAGER[0], path, "org.freedesktop.systemd1." + kind, *names)
    found[name] = dict(zip(names, values, strict=True)) | {"Description": unit[1], "LoadState": unit[2]}
print(json.dumps(found))
"""
OF_SERVICE = "ExecStart ExecStartPre ExecStartPost WorkingDirectory Slice User Environment StandardInput"
OF_SOCKET = "Listen Slice SocketMode SocketUser SocketGroup ExecStartPre Accept"


@pytest.fixture
def names(bridge: Bridge) -> Bridge:
    """The bridge with a place for sockets."""
    bridge.machine.cleanups.append(lambda: bridge.machine.remove(SOCKETS, ODD_FOLDER, "/srv/names"))
    bridge.machine.run("mkdir", SOCKETS)
    return bridge


def add(bridge: Bridge, addresses: dict[str, str | None], *, folder: str = VASSALS, text: str | None = None) -> None:
    """Write vassals by their stems, and the rule files of those that have an address."""
    files: dict[str, str | bytes] = {f"{folder}/{stem}.ini": text or config(master=False) for stem in addresses}
    files |= {f"{folder}/{stem}.ini.socket": address for stem, address in addresses.items() if address}
    bridge.machine.write_many(files)


def parsed(machine: Machine) -> dict[str, dict[str, Any]]:
    """Return what systemd made of the vassals' units, as the bus tells it, by unit."""
    shown = machine.run(PYTHON, "-c", QUERY, OF_SERVICE, OF_SOCKET, timeout=120)
    found: dict[str, dict[str, Any]] = json.loads(shown.stdout)
    return found


def escaped(machine: Machine, stems: Iterable[str], *options: str) -> list[str]:
    """Return what systemd-escape makes of each."""
    return machine.run("systemd-escape", *options, "--", *stems).stdout.split()


def all_answer(bridge: Bridge, addresses: Iterable[str]) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda address: bridge.app("uwsgi", address, 60.0), addresses))
    assert len({answer["pid"] for answer in answers}) == len(answers)


def test_every_name_is_served_by_the_extension_rule(names: Bridge) -> None:
    stems = [*STEMS, *CONTROL, *INJECTIONS, "x" * 240]
    addresses: dict[str, str | None] = {stem: f"{SOCKETS}/{number}" for number, stem in enumerate(stems)}
    add(names, addresses)
    result = names.sync()
    assert result.stdout.count("\n") == len(stems) + 1
    assert not result.stderr
    all_answer(names, [address for address in addresses.values() if address])
    status = names.status()
    assert {row: status[row]["socket"] for row in status} == {f"{stem}.ini": at for stem, at in addresses.items()}
    assert {row["state"] for row in status.values()} == {"running"}
    pids = [str(row["pid"]) for row in status.values()]
    lines = names.machine.run("sh", "-c", "for pid; do base64 -w0 /proc/$pid/cmdline; echo; done", "sh", *pids).stdout
    started = [base64.b64decode(line).decode().split("\0") for line in lines.splitlines()]
    assert started == [["/usr/bin/uwsgi", "--master", "--ini", name, ""] for name in status]
    assert not names.machine.exists(f"{VASSALS}/owned")
    assert "nothing to do" in names.sync().stdout


def test_every_name_that_can_be_in_a_path_is_served_by_the_directory_rule(names: Bridge) -> None:
    names.options = ["--emperor", VASSALS, "--emperor-on-demand-directory", SOCKETS]
    add(names, dict.fromkeys([*STEMS, *CONTROL, *INJECTIONS, "x" * 89, "x" * 90]))
    said = names.sync(status=1).stderr.splitlines()
    unfit = [*CONTROL, *INJECTIONS[:3]]
    unfit.remove("c1\x9bx")
    assert len([line for line in said if "control character" in line]) == len(unfit)
    assert len([line for line in said if "108 bytes" in line]) == 1
    assert len(said) == len(unfit) + 1
    all_answer(names, [f"{SOCKETS}/{stem}.socket" for stem in [*STEMS, "c1\x9bx", INJECTIONS[3], "x" * 89]])


def test_every_name_reaches_the_exec_rule_as_one_argument(names: Bridge) -> None:
    rule = f"""#!/bin/sh
printf %s "$#$1" | sha1sum | cut -c-8 | sed "s|^|{SOCKETS}/|"
printf '%s\\0' "$1" >> /srv/names/seen
"""
    names.machine.write("/srv/names/rule", rule, mode=0o755)
    names.options = ["--emperor", VASSALS, "--emperor-on-demand-exec", "/srv/names/rule"]
    stems = [*STEMS, *CONTROL, *INJECTIONS]
    add(names, dict.fromkeys(stems))
    names.sync()
    seen = names.machine.read("/srv/names/seen").split("\0")
    assert sorted(seen) == sorted(["", *(f"{VASSALS}/{stem}.ini" for stem in stems)])
    rows = names.status().values()
    assert len({row["socket"] for row in rows}) == len(stems)
    all_answer(names, [row["socket"] for row in rows][::6])


def test_a_name_that_cannot_be_a_units_is_refused_with_the_reason(names: Bridge) -> None:
    stems = [*REFUSED, "good"]
    add(names, {stem: f"{SOCKETS}/{stem}" if stem == "good" else None for stem in stems})
    result = names.sync(status=1)
    problems = json.loads(names.run("check", "--json", status=1).stdout)
    found = {problem["path"]: problem["message"] for problem in problems}
    assert found.keys() == {f"{VASSALS}/{stem}.ini" for stem in REFUSED}
    for stem, words in REFUSED.items():
        assert words in found[f"{VASSALS}/{stem}.ini"]
    assert result.stderr.count(" (rename it) [vassal-name]\n") == len(REFUSED)
    assert "\\udcff\\udcfe.ini: error: " in result.stderr
    assert len(json.loads(names.run("status", "--json").stdout)["vassals"]) == len(stems)
    all_answer(names, [f"{SOCKETS}/good"])


def test_a_folder_of_any_name_is_served(names: Bridge) -> None:
    stems = ["a b", "%n", "end\\", "@(x)", "$HOME"]
    add(names, {stem: f"{SOCKETS}/dir{number}" for number, stem in enumerate(stems)}, folder=ODD_FOLDER)
    names.options[1] = f"dir://{ODD_FOLDER}"
    names.sync()
    all_answer(names, [f"{SOCKETS}/dir{number}" for number in range(len(stems))])
    assert {unit["WorkingDirectory"] for name, unit in parsed(names.machine).items() if name.endswith(".service")} == {
        f"!{ODD_FOLDER}"
    }
    names.run("remove", "--yes")
    # To glob(3) a backslash and a bracket are special.
    pattern = re.sub(r"[\[\\]", "?", ODD_FOLDER)
    names.options[1] = f"glob://{pattern}/*.ini"
    names.sync()
    all_answer(names, [f"{SOCKETS}/dir{number}" for number in range(len(stems))])
    paths = [f"{ODD_FOLDER}/{stem}" for stem in stems]
    units = parsed(names.machine)
    for path, label in zip(paths, escaped(names.machine, paths, "--path"), strict=True):
        assert units[f"vassal-{label}.service"]["ExecStart"][0][1][3] == f"{path}.ini".replace("$", "$$")


def test_a_folder_that_no_unit_can_name_is_refused(names: Bridge) -> None:
    for number, folder in enumerate(
        ("/srv/names/end\\", "/srv/names/end ", "/srv/names/n\nUser=nobody", "/srv/names/c\x1b")
    ):
        add(names, {"a": f"{SOCKETS}/{number}"}, folder=folder)
        names.options[1] = f"dir://{folder}"
        said = names.sync(status=1).stderr
        assert said.count("\n") == 1
        assert said.endswith((" (rename it) [vassal-name]\n", " (rename it) [unit-value]\n"))


@pytest.mark.soak
@pytest.mark.parametrize("more", range(FACTOR))
def test_names_and_values_reach_systemd_exactly(names: Bridge, more: int, counts: Counter[str]) -> None:
    """200 names and addresses made of whatever means something to systemd, a shell or uWSGI."""
    generator = random.Random(seed(2) + more)  # noqa: S311
    nasty = [*NASTY.split("/"), "\u2028", "\u00a0"]

    def some(most: int, *, extra: Iterable[str] = ()) -> str:
        return "".join(generator.choices([*nasty, *extra], k=generator.randint(1, most)))

    stems = sorted({some(12, extra=["\n", "\t", "\r\n", "\x7f"]).replace(":", "") + "n" for _ in range(200)})
    addresses: dict[str, str | None] = {}
    for number, stem in enumerate(stems):
        # A blank before one of these begins a comment, which a rule cannot have.
        at = re.sub(r" +(?=[#;])", "", f"{number}{some(8)}.")
        addresses[stem] = [f"{SOCKETS}/{at}", f"@{at}", f"127.0.{number}.1:{number + 1}", f"[::1]:{number + 1000}"][
            number % 4
        ]
    counts["names and addresses"] += len(stems)
    access = "chmod-socket = 640\nchown-socket = nobody:daemon"
    add(names, addresses, text=config(access, master=False))
    names.sync()
    # The bus tells a socket's path with escapes of its own, the kernel as it is.
    bound = {line.split(None, 7)[-1] for line in names.machine.read("/proc/net/unix").split("\n") if line}
    units = parsed(names.machine)
    assert len(units) == 2 * len(stems)
    for stem, label in zip(stems, escaped(names.machine, stems), strict=True):
        address = addresses[stem] or ""
        service, socket = units[f"vassal-{label}.service"], units[f"vassal-{label}.socket"]
        # systemd keeps a doubled dollar until it starts the command.
        argv = ["/usr/bin/uwsgi", "--master", "--ini", f"{stem}.ini".replace("$", "$$")]
        assert [command[:2] for command in service["ExecStart"]] == [["/usr/bin/uwsgi", argv]]
        # With a "!" where the folder may be missing.
        assert service["WorkingDirectory"] == f"!{VASSALS}"
        assert (service["ExecStartPre"], service["ExecStartPost"], service["Environment"], service["User"]) == (
            [],
            [],
            [],
            "",
        )
        assert service["StandardInput"] == "socket"
        assert len(socket["Listen"]) == 1
        assert address in bound if address[0] in "/@" else socket["Listen"] == [["Stream", address]]
        assert (socket["ExecStartPre"], socket["Accept"]) == ([], False)
        is_file = address.startswith("/")
        assert socket["SocketMode"] == (0o640 if is_file else 0o666)
        assert (socket["SocketUser"], socket["SocketGroup"]) == (("nobody", "daemon") if is_file else ("", ""))
        for unit in (service, socket):
            assert unit["LoadState"] == "loaded"
            assert unit["Slice"].startswith("vassals-")
            shown = unit["Description"].removeprefix("Socket of ").removeprefix("uWSGI vassal ").removesuffix(".ini")
            assert shown == "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in stem)
