"""Reads which options the installed uWSGI has from its ``--help``."""

from __future__ import annotations

import os
import re
from functools import cached_property
from typing import TYPE_CHECKING

from bridge.host.process import CommandError, output_of

if TYPE_CHECKING:
    from bridge.uwsgi.options import Config

_OPTION = re.compile(r"^ +(?:-.\|)?--(?P<name>[a-z0-9-]+)", re.MULTILINE)
_PLUGIN = re.compile(r"[a-z0-9_]{1,40}")
"""A plugin's name and no path: uWSGI loads it as root here."""
_NO_PLUGIN = "emperor_bridge_asks"
_TRIED = re.compile(rf"(?P<folder>/[^\"\n]*)/{_NO_PLUGIN}_plugin\.so")
_PLUGINS_MAX = 32
_HELP_MAX = 1024 * 1024


class KnownOptions:
    """The options of the installed uWSGI and its plugins; each ``--help`` is run once."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._known: dict[str, frozenset[str]] = {}
        self._together: dict[frozenset[str], frozenset[str]] = {}

    def known(self, config: Config) -> frozenset[str]:
        """Return the options of uWSGI with the plugins that a config loads; none if they cannot be determined."""
        loaded = frozenset(
            name.strip()
            for option in config.all("plugin", "plugins", "need-plugin", "need-plugins")
            for name in option.value.split(",")
        )
        if not self._program or config.last("plugins-dir", "plugin-dir") or not all(map(_PLUGIN.fullmatch, loaded)):
            return frozenset()
        if loaded not in self._together:
            each = [self._ask(name) for name in ("", *sorted(loaded))]
            self._together[loaded] = frozenset().union(*each) if all(each) else frozenset()
        return self._together[loaded]

    @cached_property
    def plugin_folder(self) -> str:
        """The folder in which this uWSGI looks for its own plugins; an empty text if it cannot be determined."""
        found = _TRIED.search(self._own_help)
        return found["folder"] if found and os.path.isdir(found["folder"]) else ""

    @cached_property
    def _own_help(self) -> str:
        """The help without plugins: asked for a plugin that does not exist, uWSGI also says where it looks for them."""
        return (self._help("--plugin", _NO_PLUGIN, with_errors=True) or self._help()) if self._program else ""

    def _ask(self, plugin: str) -> frozenset[str]:
        if plugin not in self._known and len(self._known) < _PLUGINS_MAX:
            shown = self._help("--plugin", plugin) if plugin else self._own_help
            self._known[plugin] = frozenset(_OPTION.findall(shown))
        return self._known.get(plugin, frozenset())

    def _help(self, *arguments: str, with_errors: bool = False) -> str:
        command = (self._program, *arguments, "--help")
        try:
            shown = output_of(command, timeout=10, max_bytes=_HELP_MAX, cwd="/", with_errors=with_errors)
        except CommandError:
            return ""
        return shown.decode(errors="replace")
