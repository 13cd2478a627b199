"""The options that include, set or decide about other options, from uWSGI's table of options.

core/uwsgi.c, ``uwsgi_base_options``, and the tables of the plugins Debian builds, uWSGI 2.0.
"""

from __future__ import annotations

INCLUDES = frozenset({"ini", "xml", "xmlconfig", "yaml", "yml", "json", "js", "include", "inherit"})
ENDS = frozenset({"end", "endfor", "endif", "end-if", "end-for"})
LOOPS = frozenset({"for", "for-times", "for-glob", "for-readline"})
TESTS = {
    **dict.fromkeys(("if-opt", "if-not-opt"), "opt"),
    **dict.fromkeys(("if-env", "if-not-env", "ifenv"), "env"),
    **dict.fromkeys(("if-reload", "if-not-reload"), "reload"),
    **dict.fromkeys(("if-exists", "if-not-exists", "ifexists"), "exists"),
    **dict.fromkeys(("if-file", "if-not-file"), "file"),
    **dict.fromkeys(("if-dir", "if-not-dir", "ifdir", "if-directory"), "dir"),
    **dict.fromkeys(("if-hostname", "if-not-hostname"), "hostname"),
    **dict.fromkeys(("if-hostname-match", "if-not-hostname-match"), ""),
    **dict.fromkeys(("if-plugin", "if-not-plugin", "ifplugin"), ""),
}
SETS = frozenset({"set", "set-placeholder", "set-ph"})
UNREADABLE = frozenset(
    {"config", "early-envdir", "inject-after", "inject-before", "ini-paste", "ini-paste-logged", "ldap"}
    | {"pypy-ini-paste", "resolve", "sqlite", "sqlite3"}
)
"""Immediate options that bring text which only the process itself may read or look up."""
IMMEDIATE = (
    LOOPS
    | TESTS.keys()
    | SETS
    | UNREADABLE
    | (ENDS - {"end"})
    | (INCLUDES - {"inherit"})
    | {"autoload", "binary-append-data", "blacklist", "build-plugin", "cflags", "command-mode", "config-py"}
    | {"connect-and-read", "declare-option", "dlopen", "dot-h", "end-blacklist", "end-whitelist", "exit"}
    | {"extract", "fallback-config", "flock", "flock-wait", "flock-wait2", "flock2", "help", "immediate-gid"}
    | {"immediate-uid", "iprint", "ldap-schema", "ldap-schema-ldif", "listen", "need-plugin", "need-plugins"}
    | {"pause", "pcre-jit", "perl-version", "plugin", "plugin-dir", "plugins", "plugins-dir", "print-sym"}
    | {"print-symbol", "python-version", "reload", "resume", "signal", "spooler-processes", "stop", "strict"}
    | {"suspend", "umask", "usage", "whitelist"}
)
"""UWSGI_OPT_IMMEDIATE: applied at once, before placeholders are expanded; so those in their values stay."""
RELOADS = "UWSGI_RELOADS"
"""The variable that uWSGI passes on when it reloads (core/init.c, ``uwsgi_setup_reload``)."""
NOT_OPTIONS = frozenset(
    {"RELOADS", "VASSALS_DIR", "EMPEROR_FD", "BROODLORD_NUM", "EMPEROR_FD_CONFIG", "EMPEROR_PROXY", "JAIL_PID"}
    | {"ORIGINAL_PROC_NAME"}
)
"""Environment variables UWSGI_X that are not options (core/utils.c, ``parse_sys_envs``)."""
