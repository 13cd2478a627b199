"""Vassals as people have them, in our words: they bind their sockets themselves. See `beside`."""

from __future__ import annotations

from .beside import APP, HEAD, Case, Group, ini

OWN_SOCKETS = "on-demand-own-sockets = all"
PIKU = (
    *("chdir = /srv", "master = true", "project = NAME", "max-requests = 1024", "listen = 16", "processes = 1"),
    *("procname-prefix = NAME:wsgi.1:", "enable-threads = true", "log-x-forwarded-for = false"),
    *("log-maxsize = 1048576", "logto = RUN/NAME.log", "log-backupname = RUN/NAME.log.old"),
    *("env = CASE_APP=NAME", "threads = 4", "chmod-socket = 664"),
)
DEBIAN = """\
[uwsgi]
autoload = true
master = true
workers = 2
no-orphans = true
pidfile = RUN/%(site).pid
socket = RUN/%(site).sock
logto = RUN/%(site).log
log-date = true
chmod-socket = 660
uid = www-data
gid = www-data
"""
DJANGO = (
    *("chdir = /srv", "env = DJANGO_SETTINGS_MODULE=mysite.settings", "master = true", "pidfile = RUN/NAME.pid"),
    *("socket = 127.0.0.1:9422", "processes = 2", "uid = 33", "gid = 33", "harakiri = 20", "max-requests = 5000"),
    *("vacuum = true", "daemonize = RUN/NAME.log"),
)
SEARXNG = (
    *("uid = www-data", "gid = www-data", "env = LANG=C.UTF-8", "chdir = /srv", "disable-logging = true"),
    *("log-5xx = true", "chmod-socket = 666", "single-interpreter = true", "master = true", "lazy-apps = true"),
    *("plugin = python3,http", "enable-threads = true", "workers = 2", "socket = RUN/%n.sock", "buffer-size = 8192"),
    *("static-map = /static=/srv", "static-expires = /* 86400", "static-gzip-all = true", "offload-threads = 2"),
)
LUCI = (
    *("strict = true", "if-not-env = UWSGI_EMPEROR_FD", "socket = RUN/NAME.sock", "end-if =", "chmod-socket = 660"),
    *("buffer-size = 10000", "reload-mercy = 8", "max-requests = 2000", "limit-as = 2000", "reload-on-as = 256"),
    *("reload-on-rss = 192", "no-orphans = true", "vacuum = true", "post-buffering = 8192", "socket-timeout = 120"),
    *("thunder-lock = true", "plugin = syslog", "logger = syslog:uwsgi-luci", "log-format = %(method) %(uri)"),
    *("threads = 3", "processes = 3", "cheaper-algo = spare", "cheaper = 1", "cheaper-initial = 1", "cheaper-step = 1"),
)


def own(name: str, *lines: str, **more: object) -> Case:
    """A vassal that binds its sockets itself, and has no rule."""
    return ini(name, *lines, rule=None, own=True, **more)


FOUND = (
    Group(
        name="piku",
        run_owner="www-data",
        lines=("uid = www-data", "gid = www-data", "enable-threads = true", "on-demand-own-sockets = idle"),
        extension="",
        cases=(
            own(
                "blog",
                *PIKU,
                "socket = RUN/NAME.sock",
                "cheap = true",
                "idle = 1",
                "die-on-idle = true",
                idle=True,
                touch=False,
            ),
            own(
                "port",
                *(*PIKU, "http-socket = 127.0.0.1:9421", "idle = 3600", "die-on-idle = true"),
                address="127.0.0.1:9421",
                protocol="http",
            ),
            ini("steady", *PIKU, "socket = RUN/NAME.sock", rule=None, waits=False),
            Case(
                name="worker",
                text="[uwsgi]\nmaster = true\nattach-daemon = sleep 1000\nlogto = RUN/NAME.log\n",
                rule=None,
                address="",
                waits=False,
            ),
        ),
    ),
    Group(
        name="debian",
        lines=("vassals-include-before = FOLDER/../default.ini", OWN_SOCKETS),
        extension="",
        run_owner="www-data",
        files={"../default.ini": DEBIAN},
        cases=(
            own("site", "site = NAME"),
            own("port", "site = NAME", "http-socket = 127.0.0.1:9423", "workers = 1"),
            Case(
                name="xml",
                file="xml.xml",
                text=f"<uwsgi><site>xml</site><plugin>python3</plugin><wsgi-file>{APP}</wsgi-file></uwsgi>\n",
                rule=None,
                own=True,
            ),
            ini("cron", "site = NAME", "cron = 59 23 31 12 -1 true", rule=None, waits=False),
        ),
    ),
    Group(
        name="found",
        lines=("emperor-on-demand-extension = .socket", OWN_SOCKETS),
        run_owner="www-data",
        files={"../default.ini": DEBIAN.replace("%(site)", "inherits")},
        cases=(
            own("inherits", "inherit = FOLDER/../default.ini"),
            own("django", *DJANGO, address="127.0.0.1:9422", touch=False),
            own("searxng", *SEARXNG),
            ini("luci", *LUCI),
            Case(
                name="router",
                text=f"[uwsgi]\n{HEAD}plugin = http\nhttp = 127.0.0.1:9424\n",
                rule=None,
                address="127.0.0.1:9424",
                protocol="http",
                waits=False,
            ),
        ),
    ),
    Group(
        name="fedora",
        lines=("emperor-tyrant = true", "stats = RUN/stats.sock", "tenant-socket-directory = RUN", OWN_SOCKETS),
        extension="",
        cases=(
            own("port", "socket = 127.0.0.1:9425", owner="www-data:www-data", address="127.0.0.1:9425"),
            own(
                "named",
                *("http-socket = 127.0.0.1:9426", "stats = 127.0.0.1:9427", "processes = 2", "vacuum = true"),
                owner="daemon:daemon",
                address="127.0.0.1:9426",
                protocol="http",
            ),
            ini(
                "elsewhere",
                *("socket = /tmp/beside-NAME.sock", "vacuum = true"),
                owner="daemon:daemon",
                rule=None,
                address="/tmp/beside-NAME.sock",
                waits=False,
            ),
        ),
    ),
)
