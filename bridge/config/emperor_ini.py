"""Read an Emperor's own config: the settings that the bridge knows, and what replaces every other option."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bridge.config.settings import NAMES
from bridge.diagnostics import BridgeError, Diagnostic, Severity, printable
from bridge.uwsgi.options import ConfigError, is_on
from bridge.uwsgi.reader import ProcessView, read

if TYPE_CHECKING:
    from bridge.config.settings import Setting
    from bridge.uwsgi.options import Config, Option

_DIGITS = 9
_NOTHING = "nothing: no Emperor runs any more"
_OF_THE_BRIDGE = "systemd: see emperor-bridge.service"
_JOURNAL = "the journal: journalctl _UID=0 VASSAL=NAME, or -u of the vassal's unit"
_PER_VASSAL = "a line in the vassals' configs, or vassals-set"
_REPLACED = {
    **dict.fromkeys(("emperor-freq",), "inotify: changes are seen at once"),
    **dict.fromkeys(("emperor-required-heartbeat", "heartbeat", "emperor-curse-tolerance"),
                    "a drop-in of the vassal's service, such as WatchdogSec= or TimeoutStopSec="),
    **dict.fromkeys(("emperor-stats", "emperor-stats-server", "stats", "stats-server"),
                    "emperor-bridge status --json"),
    **dict.fromkeys(("emperor-broodlord", "vassal-sos", "vassal-sos-backlog"),
                    "cheaper and processes in the vassal's config: the bridge starts no zergs"),
    **dict.fromkeys(("emperor-pidfile", "pidfile", "pidfile2", "safe-pidfile", "safe-pidfile2", "daemonize",
                     "daemonize2", "die-on-term", "vacuum", "no-orphans", "reload-mercy", "procname", "auto-procname",
                     "procname-prefix", "emperor-procname", "early-emperor", "master", "no-server"), _OF_THE_BRIDGE),
    **dict.fromkeys(("logto", "logto2", "logger", "log-master", "log-date", "logdate", "logfile-chmod", "logfile-chown",
                     "disable-logging", "log-maxsize", "log-reopen", "log-prefix"), _JOURNAL),
    **dict.fromkeys(("plugin", "plugins", "need-plugin", "need-plugins", "plugin-dir", "plugins-dir", "autoload",
                     "strict", "set", "set-placeholder", "set-ph", "declare-option"), _NOTHING),
    **dict.fromkeys(("emperor-no-blacklist",), "emperor-throttle and emperor-max-throttle"),
    **dict.fromkeys(("emperor-graceful-shutdown",), "KillSignal= in a drop-in of the vassal's service"),
    **dict.fromkeys(("emperor-magic-exec",), "a config that is a file: programs that print one are not run"),
    **dict.fromkeys(("emperor-wrapper-override", "emperor-wrapper-fallback"), "emperor-wrapper"),
    **dict.fromkeys(("emperor-use-clone",), "PrivateNetwork=, PrivateUsers= and the like in a drop-in"),
    **dict.fromkeys(("emperor-proxy-socket", "emperor-use-fork-server", "emperor-fork-server-attr", "vassal-fork-base",
                     "emperor-subreaper", "imperial-monitor-list", "imperial-monitors-list"), _NOTHING),
    **dict.fromkeys(("emperor-command-socket", "emperor-trigger-socket", "emperor-wait-for-command",
                     "emperor-wait-for-command-ignore"), "systemctl, and emperor-bridge sync"),
    **dict.fromkeys(("emperor-collect-attr", "emperor-collect-attribute", "emperor-chdir-attr",
                     "emperor-wrapper-attr"), "emperor-wrapper, and chdir in the vassal's config"),
    **dict.fromkeys(("cgroup", "cgroup-opt", "limit-as", "limit-nproc", "reload-on-as", "reload-on-rss"),
                    "MemoryMax=, TasksMax= and the like in a drop-in of vassals.slice"),
    **dict.fromkeys(("umask",), "UMask= in a drop-in of the vassal's service"),
    **dict.fromkeys(("listen", "chmod-socket", "chown-socket"), _PER_VASSAL),
    **dict.fromkeys(("fastrouter", "http", "https", "rawrouter", "sslrouter", "socket", "http-socket", "uwsgi-socket",
                     "fastrouter-subscription-server", "http-subscription-server"),
                    "a vassal of its own: no Emperor runs that could do it"),
}  # fmt: skip
_HOOKS = ("hook-", "exec-", "call-", "mount-", "umount-")


@dataclass(frozen=True, kw_only=True, slots=True)
class EmperorIni:
    """What an Emperor's config says to the bridge."""

    values: dict[str, Any]
    """Settings by the names of their fields."""
    without_effect: tuple[Diagnostic, ...] = ()
    """A warning for each option that has no effect here; it says what replaces the option."""
    undecided: tuple[Diagnostic, ...] = ()
    """A warning for each option whose condition, include or value only a running uWSGI can know."""

    @property
    def notices(self) -> tuple[Diagnostic, ...]:
        """Return all warnings."""
        return (*self.without_effect, *self.undecided)

    @property
    def brief_notices(self) -> tuple[Diagnostic, ...]:
        """Return the warnings, but one for each file with several options that have no effect here."""
        by_file: dict[str | None, list[Diagnostic]] = {}
        for notice in self.without_effect:
            by_file.setdefault(notice.path, []).append(notice)
        counted = (notices[0] if len(notices) == 1 else _counted(notices) for notices in by_file.values())
        return (*counted, *self.undecided)


def read_emperor_ini(path: str) -> EmperorIni:
    """Read an Emperor's own config.

    Raises:
        BridgeError: the file cannot be read as a uWSGI config, or gives a setting a value it cannot have.
    """
    try:
        config = read(path, ProcessView(environ=os.environ, program=shutil.which("uwsgi") or ""))
    except ConfigError as error:
        raise BridgeError(
            Diagnostic(code="emperor-ini", path=error.path, line=error.line, message=error.message, hint=error.hint)
        ) from error
    return interpret(config)


def interpret(config: Config) -> EmperorIni:
    """Separate an Emperor's options into settings and those that have no effect here.

    Raises:
        BridgeError: a setting has a value it cannot have.
    """
    values: dict[str, Any] = {}
    unknown: dict[str, Option] = {}
    # A name that is set only for use as a placeholder is no option. uWSGI ignores names that it does not know.
    for option in config.options:
        if setting := NAMES.get(option.key):
            value = _value(setting, option)
            values[setting.field] = (*values.get(setting.field, ()), value) if setting.multiple else value
        else:
            unknown.setdefault(option.key, option)
    return EmperorIni(
        values=values,
        without_effect=tuple(_without_effect(option) for option in unknown.values()),
        undecided=tuple(_undecided(option) for option in config.unread),
    )


def _value(setting: Setting, option: Option) -> str | int | bool:
    if setting.flag:
        return is_on(option.value)
    if not setting.number:
        return option.value
    text = option.value
    if not (text.isascii() and text.isdecimal()) or not 1 <= len(text) <= _DIGITS or int(text) < 1:
        raise BridgeError(
            Diagnostic(
                code="emperor-ini",
                path=option.path,
                line=option.line,
                message=f"{setting.name} must be a whole number from 1, not {text[:40]!r}",
                hint=f"write {setting.name} = 1000",
            )
        )
    return int(text)


def _without_effect(option: Option) -> Diagnostic:
    if instead := _REPLACED.get(option.key):
        hint = f"replaced by {instead}"
    elif option.key.startswith(_HOOKS):
        hint = "vassals-start-hook, vassals-stop-hook, or ExecStartPre= in a drop-in of the vassal's service"
    else:
        hint = "it was for the Emperor's own process; if vassals need it, use vassals-set"
    return _warning(option.path, option.line, f"{printable(option.key)} has no effect here", hint)


def _undecided(option: Option) -> Diagnostic:
    what = f"{printable(option.key)} = {printable(option.value)}"
    why = "depends on what only a running uWSGI knows, so it has no effect here"
    return _warning(option.path, option.line, f"{what} {why}", "write the settings without condition or @(file)")


def _counted(notices: list[Diagnostic]) -> Diagnostic:
    message = f"{len(notices)} options have no effect here"
    return _warning(notices[0].path, None, message, "emperor-bridge check lists them")


def _warning(path: str | None, line: int | None, message: str, hint: str) -> Diagnostic:
    return Diagnostic(
        code="emperor-option", path=path, line=line, message=message, hint=hint, severity=Severity.WARNING
    )
