"""Hostile inputs, for `make test` and `make fuzz` alike. Each is a value that JSON can hold, to become a case.

Bytes that are not UTF-8 stand in texts as Python's surrogate escapes.
"""

from __future__ import annotations

import json
import os
from typing import Any

from hypothesis import strategies as st

from bridge.lifecycle.history import SystemdMessage
from bridge.uwsgi import option_tables, socket_options

Value = Any

AWKWARD = " %$\"'\\\n\t\r\x01\x1b\x7f;#-@.{}[]()=:/,~|&<>!*?é\x85\x9b\u2028\u202e\u200b\ufeff\udc80\udcff\U0001d4b3"
"""What syntaxes, terminals and file systems take for something else."""
INJECTIONS = (
    *("\n[Service]\nExecStart=/bin/sh\n", "\r[Service]\rUser=root\r", "\\\nUser=root", "a\\", "%h/%n", "${HOME} $HOME"),
    *("; ExecStart=/bin/sh", "\x1b]0;x\x07", "\u202egnp.ini", "\x9b31m", "-rf", "--uid=0", "../../etc/x", "\ufeff"),
    *(
        "x]\n[Install",
        '"',
        "'",
        "\\x2d",
        "\\u0000",
        "%%",
        "$$",
        "$(id)",
        "%(a)",
        "@(/etc/shadow)",
        "ÿ" * 120,
        "a" * 300,
    ),
)
TEXT = st.one_of(
    st.text(max_size=40).map(lambda text: text.replace("\0", "")),
    st.text(st.sampled_from(AWKWARD), max_size=30),
    st.sampled_from(INJECTIONS),
    st.binary(max_size=20).map(os.fsdecode),
)
LINE = TEXT.map(lambda text: text.replace("\n", ""))
EXTENSIONS = (".ini", ".xml", ".yml", ".yaml", ".js", ".json", ".INI", ".conf", "")
STEMS = st.one_of(
    TEXT,
    st.binary(min_size=1, max_size=60).map(os.fsdecode),
    st.sampled_from(
        ["..", ".", "", "-", "--", "app", "a b", "x@y", "vassals", "a.service", "\\x2d", "\n", "é", "a" * 250]
    ),
)
NAMES = st.builds(
    lambda stem, end: (stem + end).replace("/", "_").replace("\0", "_"), STEMS, st.sampled_from(EXTENSIONS)
).filter(lambda name: name not in {"", ".", ".."} and len(os.fsencode(name)) < 256)

ADDRESSES = st.one_of(
    st.sampled_from(
        [
            *(
                "/run/a.sock",
                "@a",
                ":9000",
                "127.0.0.1:9001",
                "[::1]:9002",
                "[::]:1",
                "0.0.0.0:65535",
                "a.sock",
                "../x",
                "/",
            ),
            *(
                "9000",
                "@",
                ":0",
                ":65536",
                "[::1%lo]:80",
                "[::ffff:1.2.3.4]:5",
                "localhost:1",
                "*:2",
                "/run//a/../b",
                "@é",
            ),
            *(
                "/run/user/1000/x",
                "/proc/1/cwd/x",
                "/proc/self/fd/0",
                "/" + "x" * 107,
                "/tmp/x/d/name",
                "\uff11:\uff12",
                ":٣",
                "/a\\",
            ),
            *("unix:/x", "~/x", "$HOME/x", '"/run/x"', "socket = /x", "/x # y", "[", "[]:1", "::1:80", "@" + "é" * 60),
        ]
    ),
    LINE,
    LINE.map(lambda text: "/run/" + text),
    LINE.map(lambda text: "@" + text),
    st.integers(-1, 70000).map(lambda port: f":{port}"),
    st.ip_addresses().map(lambda ip: f"[{ip}]:80" if ip.version == 6 else f"{ip}:80"),
)
FILES = ("a.ini", "b.xml", "c.yaml", "d.json", "e")
"""Files beside the config, which it may include."""
KEYS = sorted(
    {
        *option_tables.INCLUDES, *option_tables.ENDS, *option_tables.LOOPS, *option_tables.TESTS, *option_tables.SETS,
        *option_tables.UNREADABLE, *socket_options.ALL, "chmod-socket", "chown-socket", "listen", "chdir", "daemonize",
        "env", "unenv", "uid", "gid", "logto", "blacklist", "whitelist", "end-blacklist", "declare-option", "master",
        "chroot", "plugin", "a", "my-option", "protocol", "mount", "emperor", "emperor-tyrant", "emperor-throttle",
    }
)  # fmt: skip
PIECES = st.one_of(
    st.sampled_from(
        [
            *(
                "%(a)",
                "%(_)",
                "$(A)",
                "$(HOME)",
                "@(e)",
                "@(/etc/passwd)",
                "%n",
                "%d",
                "%p" * 9,
                "%v",
                "%x",
                "%",
                "%(a + 1)",
            ),
            *(
                "%(a b)",
                "%(a ++)",
                "a=%(a)%(a)",
                "x=$1;y=$2",
                "my-option=env=$1",
                "$1",
                "1 2 3",
                "999999999",
                "-1",
                "1",
            ),
            *FILES,
            *(f"{name}:part" for name in FILES),
            *(":uwsgi", "/proc/self/mem", "/dev/zero", "//x", "l9", "l30", "fifo"),
            *(
                "http://x/",
                "exec://id",
                "call://x",
                "sym://x",
                "data://x",
                "emperor://x",
                "-",
                "true",
                "false",
                "660",
                "1777",
            ),
            *("root:root", "www-data", ":games", "a=b", "=", "A=b", "9" * 25, "-" + "9" * 25),
        ]
    ),
    ADDRESSES,
    LINE,
)
VALUES = st.lists(PIECES, max_size=3).map("".join)
GIVEN = VALUES.map(lambda text: text.replace("\0", ""))
"""What a command line and an environment can have."""
OPTIONS = st.lists(st.tuples(st.sampled_from(KEYS) | LINE, VALUES), max_size=12)


def ini(options: list[tuple[str, str]], section: str = "uwsgi") -> str:
    """Write options as uWSGI's ini."""
    return "".join([f"[{section}]\n", *(f"{key} = {value}\n" for key, value in options)])


def xml(options: list[tuple[str, str]]) -> str:
    """Write options as XML, quoting nothing: some of it is none."""
    return "<uwsgi>" + "".join(f"<{key}>{value}</{key}>" for key, value in options) + "</uwsgi>"


def yaml(options: list[tuple[str, str]]) -> str:
    """Write options as YAML, plain or quoted."""
    return "uwsgi:\n" + "".join(f"  {key}: {value}\n" for key, value in options)


def as_json(options: list[tuple[str, str]]) -> str:
    """Write options as JSON."""
    members = ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in options)
    return f'{{"uwsgi": {{{members}}}}}'


WRITERS = {"ini": ini, "xml": xml, "yaml": yaml, "json": as_json}
FRAGMENTS = {
    "ini": (
        *("[uwsgi]\n", "[part]\n", "[", "]", "=", ";", "#", "\\\n", "\n", "end =\n", "for = 1 2\n", "if-env = A\n"),
        *("[uWSGI]\n", "\ufeff", "if-not-env = A\n", "inherit = a.ini\n"),
    ),
    "xml": (
        *(
            "<uwsgi>",
            "</uwsgi>",
            "<a/>",
            "<![CDATA[",
            "]]>",
            "<!--",
            "-->",
            "<?x y?>",
            "&lt;",
            "&#0;",
            "&x;",
            "<a",
            ">",
        ),
        *("<!DOCTYPE a [<!ENTITY x 'y'>]>", "<app mountpoint='/'>", "</app>", " id='part'", "<uwsgi id='x'>"),
    ),
    "yaml": (
        *("uwsgi:\n", "  a: b\n", "  - x\n", "[", "]", "{", "}", ": ", "- ", "&a ", "*a ", "!!str ", "|\n", "'", '"'),
        *("---\n", "...\n", "? ", "\t", "%YAML 1.1\n", "<<: ", "!<x> "),
    ),
    "json": (
        *("{", "}", "[", "]", ":", ",", '"uwsgi"', '"a"', "1", "-0.5e9", "true", "null", "/*", "*/", "//"),
        *('"\\ud800"', '"\\u0000"', "\ufeff", "NaN"),
    ),
}


def broken(kind: str) -> st.SearchStrategy[str]:
    """Return fragments of a syntax in any order."""
    return st.lists(st.sampled_from(FRAGMENTS[kind]) | PIECES, max_size=20).map("".join)


def texts(kind: str) -> st.SearchStrategy[str]:
    """Return configs of a kind, whole, or broken, or anything."""
    whole = OPTIONS.map(WRITERS[kind])
    cut = st.builds(lambda text, at: text[: at % (len(text) + 1)], whole, st.integers(0, 400))
    return st.one_of(whole, broken(kind), cut, TEXT)


KINDS = st.sampled_from(sorted(WRITERS))
CONFIG = KINDS.flatmap(lambda kind: st.tuples(st.just(kind), texts(kind)))
MORE_FILES = st.fixed_dictionaries({}, optional={
    "a.ini": texts("ini"), "b.xml": texts("xml"), "c.yaml": texts("yaml"), "d.json": texts("json"), "e": TEXT,
})  # fmt: skip
REPEATED = {
    "ini": ("[uwsgi]\n", st.sampled_from(KEYS).flatmap(lambda key: VALUES.map(lambda value: f"{key} = {value}\n")), ""),
    "xml": (
        "<uwsgi>",
        st.sampled_from(["<a>b</a>", "<a>", "<![CDATA[x]]>", "<a/>", "&lt;", "<a b='c'>x</a>"]),
        "</uwsgi>",
    ),
    "yaml": (
        "uwsgi:\n",
        st.sampled_from(["  a: b\n", "  - x\n", " [", " {", "  a: [x, y]\n", "? ", "- ", "  a:\n"]),
        "\n",
    ),
    "json": (
        '{"uwsgi": {"x": 0',
        st.sampled_from([', "a": "b"', ', "a": ["b", "c"]', "[", '{"a":', " ", "/**/"]),
        "}}",
    ),
}


@st.composite
def large(draw: st.DrawFn) -> Value:
    """Return a config that is one line many times; the times are counted, not written."""
    kind = draw(KINDS)
    head, line, tail = REPEATED[kind]
    lists = draw(st.sampled_from(["", "", "blacklist = " + "x " * 1000 + "\n", "for-times = 9999\n", "for = 1 2 3\n"]))
    more = lists if kind == "ini" else ""
    text = draw(line)
    return {
        "kind": kind,
        "head": head + more,
        "line": text,
        "times": draw(st.integers(1, 1_000_000 // (len(text) + 1))),
    } | {"tail": tail}


@st.composite
def config(draw: st.DrawFn) -> Value:
    """Return a config with the files around it, and the environment it is read in."""
    kind, text = draw(CONFIG)
    return {
        "kind": kind,
        "text": text,
        "files": draw(MORE_FILES),
        "environ": draw(st.dictionaries(st.sampled_from(["A", "HOME", "UWSGI_A", "UWSGI_RELOADS"]), GIVEN, max_size=2)),
        "before": draw(st.lists(st.tuples(st.sampled_from(KEYS), GIVEN), max_size=2)),
    }


VARIABLES = st.builds("{}={}".format, st.sampled_from(["A", "UWSGI_VASSAL_B", "a b"]), TEXT)
SETTINGS_VALUES = st.fixed_dictionaries({}, optional={
    "emperor_tyrant": st.booleans(),
    "emperor_tyrant_nofollow": st.booleans(),
    "emperor_tyrant_initgroups": st.booleans(),
    "tenant_socket_directory": st.lists(st.sampled_from(["/run", "/tmp", "relative", "/"]) | TEXT, max_size=2),
    "tenant_socket_groups": st.lists(st.sampled_from(["www-data", "0", "no-such-group"]) | TEXT, max_size=2),
    "uid": st.sampled_from(["", "0", "www-data", "65534", "nobody"]) | TEXT,
    "gid": st.sampled_from(["", "0", "www-data", "65534"]) | TEXT,
    "emperor_cap": st.sampled_from(["", "setuid,setgid", "KILL", " , "]) | TEXT,
    "env": st.lists(VARIABLES | TEXT, max_size=3),
    "vassals_set": st.lists(TEXT | VALUES, max_size=2),
    "vassals_inherit": st.lists(st.sampled_from(FILES) | TEXT, max_size=2),
    "vassals_include_before": st.lists(st.sampled_from(FILES) | TEXT, max_size=1),
    "emperor_wrapper": st.sampled_from(["", "/bin/true", "true"]) | TEXT,
    "vassals_start_hook": st.sampled_from(["", "/bin/true", "true"]) | TEXT,
    "vassals_stop_hook": st.sampled_from(["", "/bin/true", "true"]) | TEXT,
    "emperor_extra_extension": st.lists(st.sampled_from([".conf", "x", ""]) | TEXT, max_size=1),
    "emperor_on_demand_directory": st.sampled_from(["", "/run/sockets", "relative"]) | TEXT,
    "emperor_on_demand_exec": st.sampled_from(["", "echo @a", "'"]),
    "chdir": st.sampled_from(["", "/", "relative"]) | TEXT,
})  # fmt: skip
USUAL = st.fixed_dictionaries({"emperor_tyrant": st.booleans()})
"""Settings under which most vassals can be served."""
RULES = st.one_of(
    ADDRESSES,
    ADDRESSES.map(lambda text: text + "\n"),
    st.lists(ADDRESSES | TEXT, max_size=3).map("\n".join),
    st.just("x" * 5000),
    st.none(),
)
HARMLESS = ("chmod-socket", "chown-socket", "listen", "chdir", "env", "a", "logto", "mount", "plugin", "daemonize")
PLAIN_TEXTS = st.one_of(
    st.just("[uwsgi]\nmaster = true\n"),
    OPTIONS.map(lambda options: ini([(key, value) for key, value in options if key in HARMLESS])),
)


@st.composite
def vassal(draw: st.DrawFn) -> Value:
    """Return a vassal in a folder: its name, its config, its rule, the settings, and its owner."""
    return {
        "folder": draw(st.sampled_from(["v", "v", "%h $HOME", "é\\x", "a b'\"", "-x", "\u202ex"]) | NAMES),
        "name": draw(NAMES),
        "text": draw(PLAIN_TEXTS | CONFIG.map(lambda pair: pair[1])),
        "rule": draw(RULES),
        "files": draw(MORE_FILES),
        "settings": draw(st.one_of(USUAL, USUAL, SETTINGS_VALUES)),
        "owner": draw(st.sampled_from([[0, 0], [1000, 1000], [65534, 65534], [1000, 0]])),
        "glob": draw(st.booleans()),
    }


TOML_VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), TEXT, st.floats(allow_nan=False)),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
SETTING_NAMES = st.sampled_from([
    *("emperor", "emperor-ini", "emperor-throttle", "emperor-max-throttle", "emperor-tyrant", "uid", "env", "chdir"),
    *("emperor-on-demand-extension", "emperor-on-demand-ext", "emperor_tyrant", "binary-path", "vassals-set", "x"),
])  # fmt: skip


def toml(pairs: list[tuple[str, Value]]) -> str:
    """Write settings as TOML; JSON's texts, numbers and lists are TOML's, but for half characters."""
    return "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in pairs)


TOML = st.one_of(st.lists(st.tuples(SETTING_NAMES, TOML_VALUES), max_size=5).map(toml), TEXT, broken("ini"))
EMPEROR_OPTIONS = st.lists(
    st.tuples(
        SETTING_NAMES
        | st.sampled_from(KEYS)
        | st.sampled_from(["hook-asap", "stats", "pidfile", "master", "vassal-sos"]),
        st.sampled_from(
            ["1000", "0", "-5", "1e3", "10 ; ten", "٣", "true", "/srv/vassals", "glob:///x/*", "pg://u:p@h/d"]
        )
        | VALUES,
    ),
    max_size=8,
)
EMPEROR_INI = st.one_of(EMPEROR_OPTIONS.map(ini), texts("ini"))

MARK_KEYS = st.sampled_from(["Unit", "Config", "Name", "Monitor", "Address", "Tenant", "Configuration", "Format", "X"])
MARK_LINES = st.builds(
    "{}={}".format,
    MARK_KEYS | LINE,
    st.one_of(TEXT.map(json.dumps), LINE, st.sampled_from(["1", "null", '"٣"', "[[" * 99])),
)
UNIT_NAMES = st.one_of(
    st.sampled_from(
        ["vassal-a.service", "vassal-a.socket", "vassals.target", "vassals-pause", "ssh.service", "vassal-.x"]
    ),
    NAMES.map(lambda name: f"vassal-{name}.service"[:255]).filter(lambda name: len(os.fsencode(name)) < 256),
)


@st.composite
def unit_file(draw: st.DrawFn) -> tuple[str, str]:
    """Return a file as the unit directory might have it: marked, half marked, or somebody else's."""
    name = draw(UNIT_NAMES)
    mark = [f"Unit={json.dumps(name)}"] if draw(st.booleans()) else []
    lines = ["# Made by emperor-bridge", "[X-EmperorBridge]", *mark, *draw(st.lists(MARK_LINES, max_size=8))]
    body = draw(
        st.sampled_from(["\n[Service]\nSlice=vassals-00-٣.slice\n", "\n[Service]\nSlice=vassals-ff-12.slice\n", ""])
    )
    text = "\n".join([*lines, body])
    return name, draw(st.sampled_from([text, text[:60], text.replace("[X-", "[Y-")]) | TEXT)


UNIT_FILES = st.lists(unit_file(), max_size=5).map(lambda files: [list(file) for file in files])

FIELDS = st.sampled_from([
    *("MESSAGE", "PRIORITY", "EXIT_STATUS", "EXIT_CODE", "UNIT_RESULT", "COMMAND", "_SOURCE_REALTIME_TIMESTAMP"),
    *("USER_UNIT", "_UID", "VASSAL"),
])  # fmt: skip
ENTRIES = st.lists(
    st.fixed_dictionaries({
        "MESSAGE_ID": st.sampled_from(sorted(SystemdMessage)),
        "UNIT": UNIT_NAMES,
        "more": st.dictionaries(
            FIELDS,
            TEXT | st.sampled_from(["0", "9", "exited", "killed", "ExecStart", "-1", "²", "9" * 30, "٣"]),
            max_size=5,
        ),
        "written": st.integers(0, 2**64 - 1),
    }),
    max_size=12,
)  # fmt: skip

EDITS = st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=4)
BUS = st.fixed_dictionaries({
    "signature": st.sampled_from(["a(ssssssouso)", "sa{sv}as", "other"]),
    "texts": st.lists(TEXT.filter(lambda text: text.isascii() and "\0" not in text), min_size=1, max_size=6),
    "edits": EDITS,
    "raw": st.none() | st.binary(max_size=80).map(bytes.hex),
})  # fmt: skip
