"""Inputs that are wrong: each is refused with its reason, harms no neighbour, and what ran before goes on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from .bridge import VASSALS, Bridge, config

if TYPE_CHECKING:
    from .machine import Result

GOOD = "/run/inputs/good.sock"
UNITS = "ls /etc/systemd/system | grep '^vassal-' || true"


@pytest.fixture
def served(bridge: Bridge) -> Bridge:
    """The bridge with a vassal that nothing is wrong with."""
    bridge.machine.cleanups.append(lambda: bridge.machine.remove("/run/inputs", "/srv/inputs"))
    bridge.machine.run("mkdir", "-p", "/run/inputs", "/srv/inputs")
    bridge.vassal("good.ini", config(master=False), address=GOOD)
    return bridge


def shell(bridge: Bridge, script: str) -> str:
    return bridge.machine.run("sh", "-ec", script, cwd=VASSALS).stdout


def refuse(bridge: Bridge, expected: dict[str, str]) -> Result:
    """Sync; what is wrong is said in one line for each path, and the good neighbour, alone, has units and answers."""
    result = bridge.sync(status=1)
    said = dict(line.split(": error: ", 1) for line in result.stderr.splitlines())
    assert said.keys() == expected.keys(), result.stderr
    for place, words in expected.items():
        assert words in said[place], said[place]
        assert said[place].endswith("]"), said[place]
        assert "(" in said[place], f"no hint: {said[place]}"
    assert shell(bridge, UNITS).split() == ["vassal-good.service", "vassal-good.socket"]
    assert bridge.app("uwsgi", GOOD)
    return result


def test_a_rule_that_gives_no_address_is_refused_with_the_reason(served: Bridge) -> None:
    rules: dict[str, tuple[str | bytes, str]] = {
        "long": ("/run/" + "x" * 103, "108 bytes"),
        "long-relative": ("x" * 95, "108 bytes"),
        "long-abstract": ("@" + "x" * 108, "108 bytes"),
        "port-0": (":0", "out of range"),
        "port-65536": ("127.0.0.1:65536", "out of range"),
        "port-70000": ("[::1]:70000", "out of range"),
        "port-huge": (":" + "9" * 4000, "out of range"),
        "port-abc": (":abc", "no port number"),
        "port-none": ("127.0.0.1:", "no port number"),
        "port-signed": (":+80", "no port number"),
        "name": ("localhost:8000", "not a numeric IP"),
        "number": ("8000", "is a number"),
        "octal": ("0177.0.0.1:80", "not a numeric IP"),
        "no-brackets": ("::1:8000", "no brackets"),
        "scope": ("[fe80::1%lo]:8000", "scope"),
        "folder": ("/run/inputs/", "names a folder"),
        "at": ("@", "names no abstract socket"),
        "not-utf8": (b"/run/\xff.sock", "UTF-8"),
        "escape": ("/run/\x1b[2J.sock", "control character"),
        "nul": ("/run/a\0b.sock", "control character"),
        "cr": ("/run/a.sock\rListenStream=/run/b.sock", "control character"),
        "backslash": ("/run/inputs/a\\\nListenStream=/run/b.sock", "backslash"),
    }
    files: dict[str, str | bytes] = {}
    for stem, (rule, _) in rules.items():
        files |= {f"{VASSALS}/{stem}.ini": config(master=False), f"{VASSALS}/{stem}.ini.socket": rule}
    served.machine.write_many(files)
    refuse(served, {f"{VASSALS}/{stem}.ini.socket:1": words for stem, (_, words) in rules.items()})
    refused = {stem for stem, row in served.status().items() if row["state"] == "refused"}
    assert refused == {f"{stem}.ini" for stem in rules}


def test_a_rule_at_the_edge_is_taken(served: Bridge) -> None:
    longest = "/run/inputs/" + "x" * 95
    rules: dict[str, tuple[str, str | None]] = {
        "longest": (longest, longest),
        "crlf": ("/run/inputs/crlf.sock\r\n", "/run/inputs/crlf.sock"),
        "blanks": ("  /run/inputs/blanks.sock  \n\n", "/run/inputs/blanks.sock"),
        "port": (":65535", "0.0.0.0:65535"),
        "two": ("/run/inputs/two.sock\nExecStart=/bin/false\n", "/run/inputs/two.sock"),
        "dots": ("../../run//inputs/./dots.sock", "/run/inputs/dots.sock"),
        "empty": ("", None),
        "newline": ("\n", None),
    }
    files: dict[str, str | bytes] = {}
    for stem, (rule, _) in rules.items():
        files |= {
            f"{VASSALS}/{stem}.ini": config("socket = 127.0.0.1:0", master=False),
            f"{VASSALS}/{stem}.ini.socket": rule,
        }
    served.machine.write_many(files)
    result = served.sync()
    assert result.stderr.startswith(f"{VASSALS}/two.ini.socket:2: warning: only the first line"), result.stderr
    assert result.stderr.count("\n") == 1
    status = served.status()
    for stem, (_, address) in rules.items():
        row = status[f"{stem}.ini"]
        assert (row["socket"], row["mode"]) == (address, "on-demand" if address else "always")
        served.wait(stem, "listening" if address else "running")
    assert len(longest) == 107
    assert served.app("uwsgi", longest)
    assert served.machine.exists("/run/inputs/dots.sock")


def test_what_is_no_plain_file_is_refused_and_never_waited_for(served: Bridge) -> None:
    shell(
        served,
        """
        mkfifo fifo.ini; mkdir folder.ini; ln -s /dev/zero device.ini; truncate -s 3G huge.ini
        ln -s nowhere dangling.ini; ln -s loop.ini loop.ini; printf 'a\\0b' > nul.ini
        for rule in fifo folder device huge loop; do cp good.ini rule-$rule.ini; done
        mkfifo rule-fifo.ini.socket; mkdir rule-folder.ini.socket; ln -s /dev/zero rule-device.ini.socket
        truncate -s 3G rule-huge.ini.socket; ln -s rule-loop.ini.socket rule-loop.ini.socket
        ln -s nowhere .#good.ini; mkdir notes; mkfifo notes.txt
        """,
    )
    refuse(
        served,
        {
            f"{VASSALS}/{place}": words
            for place, words in {
                "fifo.ini": "not a regular file",
                "folder.ini": "not a regular file",
                "device.ini": "not a regular file",
                "huge.ini": "too long",
                "dangling.ini": "No such file",
                "loop.ini": "symbolic links",
                "nul.ini:1": "NUL",
                "rule-fifo.ini.socket": "not a regular file",
                "rule-folder.ini.socket": "not a regular file",
                "rule-device.ini.socket": "not a regular file",
                "rule-huge.ini.socket": "larger than",
                "rule-loop.ini.socket": "symbolic links",
            }.items()
        },
    )


def test_what_ran_goes_on_when_its_files_go_bad(served: Bridge) -> None:
    breaks = {
        "dangling": "ln -sf nowhere dangling.ini",
        "folder": "rm folder.ini; mkdir folder.ini",
        "huge": "truncate -s 3G huge.ini",
        "rule": "echo :0 > rule.ini.socket",
        "moved": "mv /srv/inputs/moved /srv/inputs/gone",
    }
    addresses = {stem: f"/run/inputs/{stem}.sock" for stem in breaks}
    for stem, address in addresses.items():
        served.vassal(
            f"{stem}.ini",
            config(master=False),
            address=address,
            folder="/srv/inputs/moved" if stem == "moved" else VASSALS,
        )
    served.options += ["--emperor", "/srv/inputs/moved"]
    served.sync()
    before = {stem: served.app("uwsgi", address)["pid"] for stem, address in addresses.items()}
    shell(served, ";".join(breaks.values()))
    served.vassal("new.ini", config(master=False), address="/run/inputs/new.sock")
    said = served.sync(status=1).stderr
    assert "/srv/inputs/moved: error: the directory of vassals cannot be read: No such file or directory" in said
    assert {stem: served.app("uwsgi", address)["pid"] for stem, address in addresses.items()} == before
    assert served.app("uwsgi", "/run/inputs/new.sock")
    assert "nothing to do" in served.sync(status=1).stdout


def test_no_output_shows_what_a_link_leads_to(served: Bridge) -> None:
    """Whoever writes vassals and rules must not read root's files through a bridge that runs as root."""
    secrets = [
        "hush",
        "hush:x:19000:0:99999:7:::",
        "hush:80",
        "127.0.0.1:hush",
        "[hush]:80",
        "a: [hush",
        "<hush",
        "{hush",
    ]
    secrets += ["/run/hush/", "/hush" * 30, "hush\x01", "80\nhush"]
    script = ["chown nobody .", "echo /etc/shadow > targets"]
    for number, secret in enumerate(secrets):
        served.machine.write(f"/srv/inputs/secret{number}", secret, mode=0o600)
        script.append(f"echo /srv/inputs/secret{number} >> targets")
    script.append(
        """
        number=0
        while read target; do
            number=$((number + 1))
            for config in c$number.ini c$number.yml c$number.yaml c$number.json c$number.js c$number.xml; do
                ln -s $target $config
                echo /run/inputs/$config > $config.socket
            done
            printf '[uwsgi]\\nini = %s\\nxml = %s\\nyaml = %s\\n' $target $target $target > i$number.ini
            echo @inputs-$number > i$number.ini.socket
            cp good.ini r$number.ini; ln -s $target r$number.ini.socket
        done < targets
        chown -h nobody *; chmod 700 /srv/inputs
        """
    )
    shell(served, "\n".join(script))
    commands = [["check"], ["check", "--json"], ["sync", "--dry-run"], ["sync", "--json"], ["sync"], ["status"]]
    shown = ""
    for name, *arguments in [*commands, ["status", "--json"], ["render", "r2"], ["render", "c2"]]:
        result = served.run(name, *arguments, status=None)
        shown += result.stdout + result.stderr
    shown += shell(served, "cat /etc/systemd/system/vassal*.s*; ls /run /run/inputs; ls /srv/vassals | grep -v secret")
    assert "hush" not in shown.replace("/srv/inputs/hush", "")
    for line in served.machine.read("/etc/shadow").splitlines():
        assert line not in shown
        assert repr(line) not in shown
    assert served.app("uwsgi", GOOD)


def test_an_exec_that_fails_hangs_or_floods_is_refused_with_the_reason(served: Bridge) -> None:
    script = """\
#!/bin/sh
case $1 in
    */good.ini) echo /run/inputs/good.sock;;
    */fails.ini) printf 'no such \\033[31mapp\\n' >&2; exit 3;;
    */killed.ini) kill -s KILL $$;;
    */floods.ini) head -c 1000000 /dev/zero | tr '\\0' x;;
    */hangs.ini) sleep 300;;
    */leaves.ini) setsid sleep 300 & echo $! > /srv/inputs/pid; echo /run/inputs/leaves.sock;;
    */badly.ini) echo localhost:80;;
    */nothing.ini) ;;
    */lines.ini) printf '/run/inputs/lines.sock\\r\\nmore\\n';;
esac
"""
    served.machine.write("/srv/inputs/rule", script, mode=0o755)
    served.machine.cleanups.append(lambda: shell(served, "kill $(cat /srv/inputs/pid)"))
    stems = ["fails", "killed", "floods", "hangs", "leaves", "badly", "nothing", "lines"]
    text = config("socket = 127.0.0.1:0", master=False)
    served.machine.write_many({f"{VASSALS}/{stem}.ini": text for stem in stems})
    served.options = ["--emperor", VASSALS, "--emperor-on-demand-exec", "/srv/inputs/rule"]
    result = served.sync("--json", status=1)
    said = {d["vassal"]: d["message"] for d in json.loads(result.stdout)["diagnostics"]}
    words = {
        "fails": "exited with status 3: no such \\x1b[31mapp",
        "killed": "was killed",
        "floods": "printed more than 4096 bytes",
        "hangs": "did not end within 10 s",
        "leaves": "did not end within 10 s",
        "badly": "not a numeric IP address",
        "lines": "only the first line",
    }
    assert said.keys() == {f"{stem}.ini" for stem in words}
    for stem, expected in words.items():
        assert expected in said[f"{stem}.ini"]
    installed = set(shell(served, UNITS).split())
    on_demand = {f"vassal-{stem}.{kind}" for stem in ("good", "lines") for kind in ("socket", "service")}
    assert installed == {*on_demand, "vassal-nothing.service"}
    assert served.app("uwsgi", GOOD)


def test_an_exec_that_cannot_be_run_refuses_all_but_what_ran_goes_on(served: Bridge) -> None:
    served.sync()
    pid = served.app("uwsgi", GOOD)["pid"]
    served.options = ["--emperor", VASSALS, "--emperor-on-demand-exec", "/srv/inputs/no such"]
    said = served.sync(status=1).stderr
    assert (
        f"{VASSALS}/good.ini: error: the on-demand command /srv/inputs/no such cannot be started: No such file" in said
    )
    assert served.app("uwsgi", GOOD)["pid"] == pid
    served.options[-1] = "rule '"
    said = served.run("check", status=2).stderr
    assert "cannot be split into words" in said
    assert said.count("\n") == 1
