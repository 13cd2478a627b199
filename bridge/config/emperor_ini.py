"""Read an Emperor's own config: the settings that the bridge knows, and what replaces every other option."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bridge.config.emperor_values import take_value
from bridge.config.settings import NAMES
from bridge.diagnostics import BridgeError, Diagnostic, Severity, printable
from bridge.uwsgi.options import ConfigError
from bridge.uwsgi.reader import ProcessView, read

if TYPE_CHECKING:
    from bridge.uwsgi.options import Config, Option

_SHOWN = 40
"""Characters of a value that a message shows."""
_NOTHING = "nothing: no Emperor runs any more"
_OF_THE_BRIDGE = "systemd: see emperor-bridge.service"
_JOURNAL = "the journal: journalctl _UID=0 VASSAL=NAME, or -u of the vassal's unit"
_PER_VASSAL = "a line in the vassals' configs, or vassals-set"
REPLACED = {
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
"""What replaces an option of an Emperor's that the bridge does not read. A test compares this with the manual."""
HOOKS = ("hook-", "exec-", "call-", "mount-", "umount-")
"""What the names of hooks begin with: settings and drop-ins replace them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EmperorIni:
    """What an Emperor's config says to the bridge."""

    path: str = ""
    """The path of its file."""
    values: dict[str, Any]
    """Settings by the names of their fields."""
    without_effect: tuple[Diagnostic, ...] = ()
    """A warning for each option that has no effect here; it says what replaces the option."""
    undecided: tuple[Diagnostic, ...] = ()
    """A warning for each option whose condition, include or value only a running uWSGI can know."""
    doubtful: tuple[Diagnostic, ...] = ()
    """A warning for each value that is not taken, or not as it is meant, and for each file without options."""

    @property
    def notices(self) -> tuple[Diagnostic, ...]:
        """Return all warnings."""
        return (*self.doubtful, *self.without_effect, *self.undecided)

    @property
    def brief_notices(self) -> tuple[Diagnostic, ...]:
        """Return the warnings, but one for each file with several options that have no effect here."""
        by_file: dict[str | None, list[Diagnostic]] = {}
        for notice in self.without_effect:
            by_file.setdefault(notice.path, []).append(notice)
        counted = (notices[0] if len(notices) == 1 else _counted(notices) for notices in by_file.values())
        return (*self.doubtful, *counted, *self.undecided)


def read_emperor_ini(named: str) -> EmperorIni:
    """Read an Emperor's own config; it is named as for uWSGI, by ``FILE`` or ``FILE:SECTION``.

    Raises:
        BridgeError: the file cannot be read as a uWSGI config.
    """
    path, section = _split(named)
    try:
        config = read(path, ProcessView(environ=os.environ, program=shutil.which("uwsgi") or ""), section=section)
    except ConfigError as error:
        raise BridgeError(
            Diagnostic(code="emperor-ini", path=error.path, line=error.line, message=error.message, hint=error.hint)
        ) from error
    return replace(interpret(config), path=path)


def _split(named: str) -> tuple[str, str]:
    """Split ``FILE:SECTION`` at the last colon, as uWSGI does. A file whose whole name has a colon counts first."""
    path, colon, section = named.rpartition(":")
    return (named, "uwsgi") if not colon or not path or os.path.exists(named) else (path, section or "uwsgi")


def interpret(config: Config) -> EmperorIni:
    """Separate an Emperor's options into settings and those that have no effect here."""
    values: dict[str, Any] = {}
    unknown: dict[str, Option] = {}
    doubtful = [_warning((r.path, r.line), r.message, r.hint, code="config-empty") for r in config.remarks]
    # A name that is set only for use as a placeholder is no option. uWSGI ignores names that it does not know.
    for option in config.options:
        if (setting := NAMES.get(option.key)) is None:
            unknown.setdefault(option.key, option)
            continue
        value, doubt = take_value(setting, option.value)
        if doubt:
            what = f"{setting.name} = {printable(option.value[:_SHOWN])} {doubt.message}"
            doubtful.append(_warning((option.path, option.line), what, doubt.hint, code="emperor-value"))
        if value is None:
            # In uWSGI the last one counts, and here it is the default.
            if not setting.multiple:
                values.pop(setting.field, None)
        else:
            values[setting.field] = (*values.get(setting.field, ()), value) if setting.multiple else value
    return EmperorIni(
        values=values,
        without_effect=tuple(_without_effect(option) for option in unknown.values()),
        undecided=tuple(_undecided(option) for option in config.unread),
        doubtful=tuple(doubtful),
    )


def _without_effect(option: Option) -> Diagnostic:
    if instead := REPLACED.get(option.key):
        hint = f"replaced by {instead}"
    elif option.key.startswith(HOOKS):
        hint = "vassals-start-hook, vassals-stop-hook, or ExecStartPre= in a drop-in of the vassal's service"
    else:
        hint = "it was for the Emperor's own process; if vassals need it, use vassals-set"
    return _warning(
        (option.path, option.line), f"{printable(option.key)} has no effect here", hint, code="emperor-option"
    )


def _undecided(option: Option) -> Diagnostic:
    # What follows a scheme may hold a password.
    scheme, separator, _ = option.value.partition("://")
    what = f"{printable(option.key)} = {printable(f'{scheme}://…' if separator else option.value)}"
    why = "depends on what only a running uWSGI knows, so it has no effect here"
    hint = "write the settings without condition or @(file)"
    return _warning((option.path, option.line), f"{what} {why}", hint, code="emperor-option")


def _counted(notices: list[Diagnostic]) -> Diagnostic:
    message = f"{len(notices)} options have no effect here"
    return _warning((notices[0].path, None), message, "emperor-bridge check lists them", code="emperor-option")


def _warning(at: tuple[str | None, int | None], message: str, hint: str, *, code: str) -> Diagnostic:
    path, line = at
    return Diagnostic(code=code, path=path, line=line, message=message, hint=hint, severity=Severity.WARNING)
