"""Beside the binary again: configs as uWSGI's documentation has them, generated ones, and templates around a config."""

from __future__ import annotations

import os
import random
import subprocess
from typing import TYPE_CHECKING

import pytest

from bridge.uwsgi import reader
from tests.unit.uwsgi.test_beside_binary import ENVIRON, INI, LOGIC, OTHERS, REFUSED, UWSGI, compare, folder

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["folder"]

GENERATED = 120
DOCUMENTED = {
    "django": "chdir = /srv/%n\nmodule = %n.wsgi\nhome = %(chdir)/env\nenv = DJANGO_SETTINGS_MODULE=%n.settings",
    "flask": "wsgi-file = app.py\ncallable = app\nprocesses = 4\nthreads = 2\nstats = 127.0.0.1:9191",
    "php": "plugins = 0:php\nproject_dir = /var/www/%n\nphp-docroot = %(project_dir)\nphp-allowed-ext = .php",
    "perl": "plugins = psgi\npsgi = %d%n.psgi\nmaster = 1\nvacuum = true",
    "cgi": "plugin = cgi\ncgi = /cgi-bin=%d/cgi\ncgi-helper = .pl=perl\ncgi-allowed-ext = .cgi",
    "static": "static-map = /static=%d/static\nstatic-expires = /* 86400\ncheck-static = %d\nstatic-index = index.html",
    "routes": "route = ^/a addheader:X: $1\nroute-host = ^x$ last:\nroute-run = log:%n\nroute-label = end",
    "cron": "cron = 59 2 -1 -1 -1 /usr/bin/backup --of %n\nunique-cron = 0 0 1 1 0 x",
    "spooler": "spooler = %d/spool\nspooler-processes = 3\nspooler-frequency = 10\nimport = tasks",
    "mules": "mules = 3\nmule = worker.py\nfarm = images:1,2\nmule-msg-size = 65536",
    "cheaper": "processes = 16\ncheaper = 2\ncheaper-initial = 4\ncheaper-step = 2\ncheaper-algo = spare",
    "on-demand": "idle = 300\ndie-on-idle = true\nmaster = true\ncheap = 1\nprotocol = http",
    "offload": "offload-threads = %k\nfile-serve-mode = x-sendfile\nstatic-safe = /srv",
    "cache": "cache2 = name=mine,items=100,blocksize=4096\ncache-blocksize = 1024\ncache = 50",
    "logging": "log-format = %%(addr) - %%(user) [%%(ltime)] %%(method)\nlog-4xx = true\nlog-micros = true",
    "loggers": "log-master-bufsize = 65536\nlog-zero = true\nlog-x-forwarded-for = true",
    "router": "http = :8080\nhttp-to = /run/%n.sock\nhttp-subscription-server = 127.0.0.1:5000\nhttp-timeout = 30",
    "subscribe": "subscribe-to = 127.0.0.1:5000:%n.example.org\nsubscribe2 = server=127.0.0.1:5000,key=%n",
    "zerg": "zerg-server = /run/%n.zerg\nzerg = /run/pool\nzergpool = /run/pool:127.0.0.1:3031,127.0.0.1:3032",
    "hooks": "hook-asap = exec:true\nexec-as-user = touch %d%n\nexec-pre-app = echo %(exec-as-user)",
    "legion": "legion-freq = 5\nlegion-tolerance = 25\nlegion-skew-tolerance = 60\nlegion-death-on-lord-error = true",
    "attach": "attach-daemon = memcached -p 1 -u %(user)\nuser = nobody\nsmart-attach-daemon = /run/x.pid x --daemon",
    "limits": "limit-post = 65536\nharakiri = 30\nmax-requests = 5000\nreload-on-rss = 256\nbuffer-size = 32768",
    "https": "https = :8443,%d/a.crt,%d/a.key,HIGH\nhttps2 = addr=:9443,cert=a,key=b\nhttp-to-https = :8080",
    "metrics": "enable-metrics = true\nmetric = name=a,type=counter\nstats-pusher-default-freq = 5",
    "namespaces": "namespace = /ns/%n\nunshare = ipc,uts\nset-hostname = %n\ncgroup = /sys/fs/cgroup/%n",
    "many-sites": "for = blog shop wiki\nroute-host = ^%(_) addvar:S=%(_)\nendfor =\nset = sites=3",
    "by-environment": "if-env = WHO\nenv = TENANT=%(_)\nendif =\nif-not-env = PRODUCTION\npy-autoreload = 1\nendif =",
    "by-file": "if-file = there\ntouch-reload = %(_)\nendif =\nif-not-dir = %d/none\nvacuum = 1\nendif =",
    "arithmetic": "base = 9000\noffset = 17\nsocket = 127.0.0.1:%(base + offset)\nworkers = %(offset - 1)",
}
"""uWSGI's documented features, each used as an app's config would."""

AROUND: dict[str, tuple[list[tuple[str, str]], list[tuple[str, str]]]] = {
    "master": ([("master", "")], []),
    "set": ([("set", "a=b"), ("set", "threads=2")], []),
    "set-placeholder": ([("set", "name=%n"), ("set", "x=%(name)")], []),
    "include-before": ([("include", "more.ini")], []),
    "inherit-before": ([("inherit", "more.ini")], []),
    "include-after": ([], [("include", "more.ini")]),
    "inherit-after": ([], [("inherit", "more.ini")]),
    "both": ([("inherit", "more.ini"), ("include", "more.yaml")], [("inherit", "more.json"), ("include", "more.xml")]),
    "all": (
        [("master", ""), ("inherit", "late.ini"), ("include", "more.ini"), ("set", "a=b")],
        [("inherit", "late.ini"), ("include", "more.ini")],
    ),
    "twice": ([("set", "a=1"), ("set", "a=2")], [("include", "more.ini"), ("include", "more.ini")]),
    "many": ([("set", f"v{n}=%(v{n - 1})") for n in range(1, 5)], [("inherit", "more.xml")] * 2),
}
"""What an Emperor puts on the command line around a config: core/emperor.c, ``uwsgi_emperor_spawn_vassal``."""
BETWEEN = {
    "plain": "a = %(more) %n %N\nbase = /srv\nthreads = 1\nb = %(threads) %(a)",
    "asking": "if-opt = master\nm = %(_)\nendif =\nif-opt = a=b\nx = %(v3)\nendif =\nif-not-opt = more\ny = 1\nendif =",
}


class Writer:
    """Writes configs at random, of all that the language has, as uWSGI accepts it."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311
        self.names = [f"{letter}{number}" for letter in "kxs" for number in range(4)]

    def text(self) -> str:
        lines = ["; generated", "[uwsgi]"]
        for _ in range(self.chance.randint(3, 14)):
            lines += self.chance.choice([self.option, self.option, self.option, self.block, self.setting, self.noise])()
        return "\n".join([*lines, ""])

    def value(self, name: str) -> str:
        """Return a value that refers only to names before its own: uWSGI follows a circle until it crashes."""
        earlier = self.names[: self.names.index(name)]
        references = [f"%({self.chance.choice(earlier)})", f"%({self.chance.choice(earlier)} + 2)"] if earlier else []
        pieces = ["v", "%n", "$(WHO)", "$(NOT)", "%%", "1", "a b", "=", "%d", ".", "%(nothing)", *references * 3]
        return "".join(self.chance.choices(pieces, k=self.chance.randint(0, 4))).strip()

    def option(self) -> list[str]:
        name = self.chance.choice(self.names)
        return [f"{name} = {self.value(name)}"]

    def setting(self) -> list[str]:
        how = self.chance.choice(["set", "set-ph", "set-placeholder", "env"])
        name = self.chance.choice(self.names)
        return [f"{how} = {name}={self.value(name)}"]

    def noise(self) -> list[str]:
        return self.chance.choice(
            [["", "# c = %n"], ["include = more.ini"], ["inherit = more.yaml"], ["[other]", "k0 = no", "[uwsgi]"]]
        )

    def block(self) -> list[str]:
        begin, end = self.chance.choice(
            [
                ("if-env = WHO", "endif ="),
                ("if-not-env = NOT", "end-if ="),
                (f"if-opt = {self.chance.choice(self.names)}", "endif ="),
                ("if-file = there", "endif ="),
                ("if-not-exists = there", "endif ="),
                ("for = a b c", "endfor ="),
                (f"for-times = {self.chance.randint(0, 3)}", "end-for ="),
            ]
        )
        body = [line for _ in range(self.chance.randint(1, 3)) for line in self.option()]
        about = "" if begin.startswith("if-opt") else "%(_)"
        return [begin, *(line + about if self.chance.random() < 0.5 else line for line in body), end]


def test_there_are_at_least_200() -> None:
    around = len(AROUND) * len(BETWEEN)
    assert len(INI) + len(OTHERS) + len(REFUSED) + len(DOCUMENTED) + GENERATED + around >= 200


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_documented_feature(folder: Path, name: str) -> None:
    compare(folder / f"{name}.ini", f"[uwsgi]\n{DOCUMENTED[name]}\n")


@pytest.mark.parametrize("seed", range(GENERATED))
def test_a_generated_config(folder: Path, seed: int) -> None:
    compare(folder / "generated.ini", Writer(seed).text())


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("around", AROUND)
def test_options_around_a_config(folder: Path, around: str, between: str) -> None:
    before, after = AROUND[around]
    path = folder / "app.ini"
    path.write_text(f"[uwsgi]\n{BETWEEN[between]}\n", "utf-8")
    line = [*_written(before), "--ini", path.name, *_written(after)]
    result = subprocess.run(
        [UWSGI, *line, "--show-config", "--clock", "none"],
        env=ENVIRON, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False,
    )  # fmt: skip
    shown = os.fsdecode(result.stdout + result.stderr).partition("[uwsgi]\n")[2].partition(";end of configuration")[0]
    here = {"show-config = true", "clock = none", f"ini = {path.name}", "master = true", ""}
    theirs = [one for one in shown.split("\n") if one not in here and one.partition(" = ")[0] not in LOGIC]
    config = reader.read(path.name, reader.ProcessView(environ=ENVIRON, cwd=str(folder), before=before, after=after))
    ours = [f"{option.key} = {option.value}" for option in config.options if option.key != "master"]
    assert ours == theirs


def _written(options: list[tuple[str, str]]) -> list[str]:
    return [word for name, given in options for word in ([f"--{name}", given] if given else [f"--{name}"])]
