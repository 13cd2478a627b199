"""The vassals that both the Emperor and the bridge are given; see `beside`."""

from __future__ import annotations

from .beside import APP, HEAD, INI, Case, Group, Link

RULE = "emperor-on-demand-extension = .socket"
ON_DEMAND_IDLE = f"{INI}idle = 1\ndie-on-idle = true\n"
YAML = f"uwsgi:\n  plugin: python3\n  wsgi-file: {APP}\n"
JSON = f'{{"uwsgi": {{"plugin": "python3", "wsgi-file": "{APP}", "post-buffering": 2}}}}\n'
XML = f"<uwsgi>\n<plugin>python3</plugin>\n<wsgi-file>{APP}</wsgi-file>\n<post-buffering>2</post-buffering>\n</uwsgi>\n"
EXEC_RULE = """\
#!/bin/sh
name=$(basename "$1")
case "$name" in none*) ;; *) echo "RUN/$name.sock"; echo more;; esac
"""
OWN_SOCKET = "socket = RUN/NAME.sock"
DESCRIPTOR = "UWSGI_EMPEROR_FD"


def ini(name: str, *lines: str, **more: object) -> Case:
    """A vassal that waits, with some lines of its own."""
    return Case(name=name, text=INI + "".join(f"{line}\n" for line in lines), **more)  # type: ignore[arg-type]


FORMATS = (
    ini("plain"),
    Case(name="yaml", file="yaml.yaml", text=YAML),
    Case(name="yml", file="yml.yml", text=YAML),
    Case(name="json", file="json.json", text=JSON),
    Case(name="js", file="js.js", text=JSON),
    Case(name="xml", file="xml.xml", text=XML),
    Case(name="noextension", file="noextension", waits=False, broken=True),
    Case(name="uppercase", file="uppercase.INI", waits=False, broken=True),
    Case(name="otherextension", file="otherextension.conf", waits=False, broken=True),
    Case(name="backup", file="backup.ini~", waits=False, broken=True),
    Case(name="hidden", file=".hidden.ini"),
    Case(name="onlyextension", file=".ini"),
    Case(name="twodots", file="two.dots.ini"),
    Case(name="spaces", file="with spaces.ini"),
    Case(name="umlaut", file="bücher.ini"),
    Case(name="percent", file="100%sure.ini"),
    Case(name="dollar", file="us$HOME.ini"),
    Case(name="dash", file="-dash.ini"),
    Case(name="colon", file="colon:80.ini"),
    Case(name="directory", file="directory.ini/inner.ini", waits=False, broken=True),
    Case(name="symlink", text=Link("FOLDER/../symlinked.txt"), files={"../symlinked.txt": INI}),
    Case(name="relativelink", text=Link("../relative.ini"), files={"../relative.ini": INI}),
    Case(name="brokenlink", text=Link("FOLDER/nowhere.ini"), waits=False, broken=True, touch=False),
    Case(name="brokensection", text=f"[other]\n{HEAD}", broken=True, touch=False),
    Case(name="uppersection", text=f"[uWSGI]\n{HEAD}", broken=True, touch=False),
    Case(name="nosection", text=HEAD, broken=True, touch=False),
    Case(name="byteordermark", text=f"\ufeff{INI}", broken=True, touch=False),
    Case(
        name="flowyaml",
        file="flow.yaml",
        text=f"uwsgi: {{plugin: python3, wsgi-file: {APP}}}\n",
        broken=True,
        touch=False,
    ),
    Case(name="badoption", text=f"{INI}no-such-option = 1\nstrict = true\n", broken=True, touch=False),
    Case(name="unknownoption", text=f"{INI}no-such-option = 1\n"),
    Case(name="empty", text="", broken=True, touch=False),
    Case(name="noapp", text="[uwsgi]\nplugin = python3\nneed-app = true\n", broken=True, touch=False),
)

ADDRESSES = (
    Case(name="tcp", address="127.0.0.1:9401"),
    Case(name="anyip", address="127.0.0.1:9402", rule=":9402\n"),
    Case(name="abstract", address="@beside-NAME", touch=False),
    Case(name="http", text=f"{INI}protocol = http\n", protocol="http"),
    Case(name="fastcgi", text=f"{INI}protocol = fastcgi\n", protocol="fastcgi"),
    Case(name="httptcp", text=f"{INI}protocol = http\n", protocol="http", address="127.0.0.1:9403"),
    Case(name="trailing", rule="ADDRESS\nsecond line\nthird\n"),
    Case(name="unended", rule="ADDRESS"),
    Case(name="carriage", rule="ADDRESS\r\n"),
    Case(name="tabbed", rule="ADDRESS\tcomment\n"),
    ini("emptyrule", OWN_SOCKET, rule="", waits=False),
    ini("newlinerule", OWN_SOCKET, rule="\nADDRESS\n", waits=False),
    ini("norule", OWN_SOCKET, rule=None, waits=False),
    Case(name="nosocket", rule=None, address="", waits=False, broken=True, touch=False),
    ini("ownsocket", "socket = RUN/own.sock", rule=None, address="RUN/own.sock", waits=False),
    ini("ownhttp", "http-socket = 127.0.0.1:9404", rule=None, address="127.0.0.1:9404", waits=False, protocol="http"),
    ini("chmodwrong", "chmod-socket = true", broken=True, touch=False),
    ini("chmod666", "chmod-socket = 666"),
    ini("chmod600", "chmod-socket = 600"),
    ini("chown", "chown-socket = www-data:www-data"),
    ini("chownnogroup", "chown-socket = www-data:"),
    ini("chownnouser", "chown-socket = :www-data"),
    ini("chownnumbers", "chown-socket = 33:1"),
    ini("chownblanks", "chown-socket = www-data : www-data", broken=True, touch=False),
    ini("listen", "listen = 64"),
)

LIVES = (
    Case(name="idledies", text=ON_DEMAND_IDLE, idle=True),
    ini("idledieshttp", "idle = 1", "die-on-idle = 1", "protocol = http", protocol="http", idle=True),
    ini("idlecheap", "idle = 1", idle=True, touch=False),
    ini("idlemaster", "master = true", "idle = 1", "die-on-idle = true", idle=True),
    ini("idletcp", "idle = 1", "die-on-idle = true", address="127.0.0.1:9405", idle=True),
    ini("master", "master = true"),
    ini("masterfalse", "master = false"),
    ini("masteralways", "master = true", OWN_SOCKET, rule=None, waits=False),
    ini("threads", "threads = 3"),
    ini("processes", "processes = 3"),
    ini("cheaper", "processes = 3", "cheaper = 1"),
    ini("lazyapps", "lazy-apps = true"),
    ini("dieonterm", "die-on-term = true"),
    ini("vacuum", "vacuum = true"),
    ini("pidfile", "pidfile = RUN/NAME.pid"),
    ini("logto", "logto = RUN/NAME.log"),
    ini("logtorelative", "logto = NAME.log", "chdir = /srv"),
    ini("logto2", "logto2 = RUN/NAME.log"),
    ini("daemonize", "daemonize = RUN/NAME.log"),
    ini("daemonize2", "daemonize2 = RUN/NAME.log"),
    ini("daemonizerelative", "daemonize = NAME.log", "chdir = /srv"),
    ini("daemonizeidle", "daemonize = RUN/NAME.log", "idle = 1", "die-on-idle = true", idle=True),
    ini("daemonizeuser", "daemonize = RUN/NAME.log", "uid = www-data", "gid = www-data", touch=False),
    ini("procname", "procname = my name", "auto-procname = true", "procname-prefix = x "),
    ini("touchreload", "touch-reload = RUN/NAME.touch"),
    ini("uid", "uid = www-data", "gid = www-data"),
    ini("uidnumber", "uid = 33", "gid = 33"),
    ini("uidgroups", "uid = www-data", "gid = www-data", "add-gid = games"),
    ini("uidonly", "uid = daemon"),
    ini("initgroups", "uid = www-data", "gid = www-data", "initgroups = true"),
    ini("immediate", "immediate-uid = www-data", "immediate-gid = www-data"),
    ini("chdir", "chdir = /srv"),
    ini("chdir2", "chdir2 = /srv"),
    ini("cron", "cron = 59 23 31 12 -1 true"),
    ini("umask", "umask = 027"),
    ini("exile", "exec-pre-app = exit 26", broken=True, touch=False),
    ini("stats", "stats = RUN/NAME.stats"),
    ini("mule", "mule = true"),
)

CONFIGS = (
    ini("env", "env = CASE_ONE=1", "env = CASE_TWO=two words"),
    ini("placeholder", "value = 3", "post-buffering = %(value)"),
    ini("magic", "env = CASE_NAME=%n", "env = CASE_FILE=%p", "env = CASE_STEM=%s", "env = CASE_FOLDER=%d"),
    ini("foreign", "env = CASE_ENV=$(CASE_NOWHERE)"),
    ini("include", "ini = FOLDER/../more.ini", files={"../more.ini": "[uwsgi]\npost-buffering = 2\n"}),
    ini("relative", "ini = more-NAME.txt", files={"more-NAME.txt": "[uwsgi]\npost-buffering = 2\n"}),
    ini(
        "unknownending",
        "include = more-NAME.txt",
        files={"more-NAME.txt": "[uwsgi]\npost-buffering = 2\n"},
        broken=True,
        touch=False,
    ),
    ini("section", "ini = :extra", "[extra]", "post-buffering = 2"),
    ini("ifenv", f"if-env = {DESCRIPTOR}", "env = CASE_IF=emperor", "end-if ="),
    ini("ifnotenv", f"if-not-env = {DESCRIPTOR}", "env = CASE_IF=alone", "end-if ="),
    ini("ifnotenvsocket", f"if-not-env = {DESCRIPTOR}", "socket = RUN/other.sock", "end-if ="),
    ini("ifexists", "if-exists = /etc/passwd", "env = CASE_IF=there", "end-if ="),
    ini("ifdir", "if-dir = /etc", "env = CASE_IF=%(_)", "end-if ="),
    ini("ifopt", "post-buffering = 2", "if-opt = post-buffering=2", "env = CASE_IF=two", "end-if ="),
    ini("ifreload", "if-reload = true", "env = CASE_IF=again", "end-if ="),
    ini("forloop", "for = A B C", "env = CASE_%(_)=%(_)", "endfor ="),
    ini("fortimes", "for-times = 2", "env = CASE_T%(_)=x", "endfor ="),
    ini("exec", "env = CASE_EXEC=@(exec://echo hello)"),
    ini("file", "env = CASE_FILE=@(/etc/hostname)"),
    ini("setopt", "set = post-buffering=2"),
    ini("setplaceholder", "set-placeholder = key=2", "post-buffering = %(key)"),
    ini("comment", "; comment", "# comment", "post-buffering = 2 ; not a comment"),
    ini("twice", "post-buffering = 2", "post-buffering = 3"),
    ini("bools", "disable-logging = true", "thunder-lock = 1", "enable-threads = yes"),
    ini("quoted", 'env = CASE_Q="quoted"', "env = CASE_S=$HOME %%"),
    ini("inherit", "inherit = FOLDER/../template.ini", files={"../template.ini": "[uwsgi]\nenv = CASE_T=%n\n"}),
)

GROUPS = (
    Group(name="formats", lines=(RULE,), cases=FORMATS),
    Group(name="addresses", lines=(RULE,), cases=ADDRESSES),
    Group(name="lives", lines=(RULE,), cases=LIVES),
    Group(name="configs", lines=(RULE,), cases=CONFIGS),
    Group(
        name="folder",
        lines=("emperor-on-demand-directory = RUN",),
        extension="",
        cases=(
            Case(name="plain", address="RUN/plain.socket"),
            Case(name="twodots", file="two.dots.ini", address="RUN/two.dots.socket"),
            Case(name="yaml", file="yaml.yaml", text=YAML, address="RUN/yaml.socket"),
            Case(name="idle", text=ON_DEMAND_IDLE, address="RUN/idle.socket", idle=True),
        ),
    ),
    Group(
        name="aliases",
        lines=(
            "emperor-on-demand-ext = .socket",
            "emperor-extra-ext = .vassal",
            "vassals-cap = setuid,setgid",
            "emperor-throttle = 500",
            "emperor-max-throttle = 2000",
        ),
        cases=(
            ini("plain"),
            Case(name="vassal", file="vassal.vassal", broken=True, touch=False),
            Case(name="broken", text=f"{INI}strict = true\nno-such-option = 1\n", broken=True, touch=False),
        ),
    ),
    Group(
        name="alias-folder",
        lines=("emperor-on-demand-dir = RUN", "vassal-cap = setuid,setgid,kill"),
        extension="",
        cases=(Case(name="plain", address="RUN/plain.socket"),),
    ),
    Group(
        name="exec",
        lines=("emperor-on-demand-exec = FOLDER/../rule",),
        extension="",
        files={
            "../rule": EXEC_RULE,
        },
        cases=(
            Case(name="plain", address="RUN/plain.ini.sock"),
            Case(name="spaces", file="with spaces.ini", address="RUN/with spaces.ini.sock", touch=True),
            ini("none", OWN_SOCKET, waits=False),
            Case(name="idle", text=ON_DEMAND_IDLE, address="RUN/idle.ini.sock", idle=True),
        ),
    ),
    Group(
        name="glob",
        emperor="FOLDER/*.ini",
        names_are_paths=True,
        lines=(RULE,),
        cases=(
            ini("plain"),
            ini("relative", "chdir = ."),
            ini("idle", "idle = 1", "die-on-idle = true", idle=True),
            ini("always", OWN_SOCKET, rule=None, waits=False),
            Case(name="outside", file="outside.yaml", text=YAML, waits=False, broken=True),
            Case(name="directory", file="directory.ini/inner.ini", waits=False, broken=True),
            Case(name="hidden", file=".hidden.ini", waits=False, broken=True),
            ini("magic", "env = CASE_NAME=%n", "env = CASE_FILE=%p", "env = CASE_STEM=%s", "env = CASE_FOLDER=%d"),
        ),
    ),
    Group(
        name="pattern",
        emperor="FOLDER/[^_]*[!0-9].ini",
        names_are_paths=True,
        lines=(RULE,),
        cases=(
            ini("plain"),
            Case(name="underscore", file="_off.ini", waits=False, broken=True),
            Case(name="digit", file="off1.ini", waits=False, broken=True),
            Case(name="bracket", file="x[1].ini"),
            Case(name="hidden", file=".hidden.ini", waits=False, broken=True),
            Case(name="notascii", file="bücher.ini"),
        ),
    ),
    Group(
        name="values",
        lines=(
            RULE,
            "emperor-throttle = 0",
            "emperor-max-throttle = 2000 ; two seconds",
            "emperor-tyrant = false",
            "env = ALONE",
        ),
        cases=(
            ini("plain"),
            Case(name="broken", text=f"{INI}strict = true\nno-such-option = 1\n", broken=True, touch=False),
        ),
    ),
    Group(
        name="extra",
        lines=(RULE, "emperor-extra-extension = .conf", "emperor-nofollow = true"),
        cases=(
            # uWSGI is given it as --config, and by that reads nothing but what a plugin has registered.
            Case(name="conf", file="conf.conf", broken=True, touch=False),
            ini("plain"),
            Case(name="link", text=Link("FOLDER/../linked.ini"), files={"../linked.ini": INI}, touch=False),
        ),
    ),
    Group(
        name="sets",
        lines=(
            RULE,
            "vassals-set = post-buffering=2",
            "vassal-set = env=CASE_SET=1",
            "vassals-include-before = FOLDER/../before.ini",
            "vassals-include = FOLDER/../after.ini",
            "vassals-inherit-before = FOLDER/../template-before.ini",
            "vassals-inherit = FOLDER/../template-after.ini",
            "env = UWSGI_VASSAL_THUNDER_LOCK=1",
            "env = CASE_OF_EMPEROR=1",
        ),
        files={
            "../before.ini": "[uwsgi]\nenv = CASE_BEFORE=%n\nprocesses = 2\n",
            "../after.ini": "[uwsgi]\nenv = CASE_AFTER=%n\n",
            "../template-before.ini": "[uwsgi]\nenv = CASE_TEMPLATE_BEFORE=%n\n",
            "../template-after.ini": "[uwsgi]\nenv = CASE_TEMPLATE_AFTER=%n\n",
        },
        cases=(
            ini("plain"),
            ini("overrides", "post-buffering = 1", "processes = 1"),
            Case(name="yaml", file="yaml.yaml", text=YAML),
            ini("always", OWN_SOCKET, rule=None, waits=False),
        ),
    ),
    Group(
        name="wrapper",
        lines=(
            RULE,
            "emperor-wrapper = FOLDER/../wrapper",
            "vassals-start-hook = FOLDER/../hook",
            "vassals-stop-hook = FOLDER/../hook",
        ),
        files={
            "../wrapper": '#!/bin/sh\nexport CASE_WRAPPED="$#"\nexec uwsgi "$@"\n',
            "../hook": '#!/bin/sh\necho "$1 in $UWSGI_VASSALS_DIR by $(id -u) at $(pwd)" >>RUN/hooked\n',
        },
        cases=(
            ini("plain"),
            ini("hooked", "env = CASE_HOOKED=@(exec://grep ^NAME RUN/hooked | tail -n1)"),
            ini("idle", "idle = 1", "die-on-idle = true", idle=True),
        ),
    ),
    Group(
        name="unprivileged",
        lines=(RULE, "uid = www-data", "gid = www-data"),
        cases=(
            ini("plain"),
            Case(name="owned", owner="daemon:daemon"),
            ini("always", OWN_SOCKET, rule=None, waits=False),
            ini("idle", "idle = 1", "die-on-idle = true", idle=True),
            ini("chmod", "chmod-socket = 660"),
        ),
    ),
    Group(
        name="tyrant",
        lines=(RULE, "emperor-tyrant = true", "tenant-socket-directory = RUN"),
        cases=(
            Case(name="wwwdata", owner="www-data:www-data"),
            Case(name="mixed", owner="www-data:daemon"),
            Case(name="nobody", owner="nobody:nogroup"),
            ini(
                "always",
                "socket = 127.0.0.1:9410",
                owner="daemon:daemon",
                rule=None,
                address="127.0.0.1:9410",
                waits=False,
            ),
            Case(name="root", waits=False, broken=True),
            Case(name="rootgroup", owner="www-data:root", waits=False, broken=True),
            Case(
                name="link",
                owner="www-data:www-data",
                text=Link("FOLDER/../linked.ini"),
                files={"../linked.ini": INI},
                waits=False,
                broken=True,
            ),
            Case(name="idle", text=ON_DEMAND_IDLE, owner="daemon:daemon", idle=True),
        ),
    ),
    Group(
        name="tyrant-nofollow",
        lines=(
            RULE,
            "emperor-tyrant = true",
            "emperor-tyrant-nofollow = true",
            "emperor-tyrant-initgroups = true",
            "tenant-socket-directory = RUN",
        ),
        cases=(
            Case(name="plain", owner="www-data:www-data"),
            Case(
                name="link",
                owner="www-data:www-data",
                text=Link("FOLDER/../linked.ini"),
                files={"../linked.ini": INI},
            ),
        ),
    ),
    Group(
        name="capabilities",
        lines=(RULE, "emperor-cap = setuid,setgid"),
        cases=(ini("plain"), ini("uid", "uid = www-data", "gid = www-data")),
    ),
)
