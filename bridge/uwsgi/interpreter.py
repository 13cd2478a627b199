"""Interprets options as a starting uWSGI does: loops, placeholders, includes. Nothing here reads a file.

core/config.c (``add_exported_option_do``, ``uwsgi_configure``) and core/uwsgi.c (``main``,
the table ``uwsgi_base_options``) of uWSGI 2.0, for a process that has no Emperor.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bridge.uwsgi.budget import LOOKUP, STEP, Budget
from bridge.uwsgi.conditions import decide
from bridge.uwsgi.option_tables import ENDS, IMMEDIATE, INCLUDES, LOOPS, NOT_OPTIONS, SETS, TESTS, UNREADABLE
from bridge.uwsgi.options import ConfigError, Option
from bridge.uwsgi.placeholders import calculate, expand, substitute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bridge.uwsgi.conditions import Decision, Surroundings

_MAX_DEPTH = 8
_MAX_ARGUMENTS = 64
_HIDDEN = LOOPS | TESTS.keys() | ENDS
"""Options that are not in the result."""
_REMEMBERED = frozenset({"env", "unenv", "blacklist", "whitelist", "end-blacklist", "end-whitelist"})
"""Options on which later ones depend."""
_APPLIED = _HIDDEN | SETS | INCLUDES | UNREADABLE | _REMEMBERED | {"declare-option"}
"""Options that do something once they are applied; so do those that are declared."""
_OF_FILES = frozenset(key for key, kind in TESTS.items() if kind in {"exists", "file", "dir"})
"""Conditions that ask the kernel about a file."""


@dataclass(slots=True)
class _Entry:
    option: Option
    done: bool = False
    """Whether it has been applied: its placeholders are no longer expanded."""
    shown: bool = True
    """Whether it is in the result; the option that names the config itself is not."""


@dataclass(slots=True, eq=False, repr=False)
class Process:
    """The start of one uWSGI process: ``environment``, ``config``, ``add`` the options of its config, ``finish``."""

    around: Surroundings
    budget: Budget = field(default_factory=Budget)
    unread: list[Option] = field(default_factory=list)
    """Options that only the running process can evaluate, as in :attr:`Config.unread`."""
    _entries: list[_Entry] = field(default_factory=list)
    _first: dict[str, _Entry] = field(default_factory=dict)
    _environ: dict[str, str | None] = field(default_factory=dict)
    """The variables that options have set, or unset."""
    _custom: dict[str, str] = field(default_factory=dict)
    _lists: dict[str, frozenset[str]] = field(default_factory=dict)
    _logic: Option | None = None
    _in_body: bool = False
    _depth: int = 0

    def environment(self) -> None:
        """Take options from the environment (core/utils.c, ``parse_sys_envs``)."""
        for name, value in self.around.environ.items():
            if name.startswith("UWSGI_") and name[6:] not in NOT_OPTIONS:
                self._take(Option(name[6:].lower().replace("_", "-"), value, f"${name}", 1))

    def config(self, option: str, path: str) -> None:
        """Take the option ``--ini path`` itself, before the config's (core/uwsgi.c, ``uwsgi_commandline_config``)."""
        self._enter(_Entry(Option(option, path, path, 1), done=True, shown=False))

    def add(self, options: Iterable[Option]) -> None:
        """Take the options of a config, in order."""
        for option in options:
            # Nearly all options neither do anything at once nor stand where something is decided about them.
            is_plain = option.key not in IMMEDIATE and self._logic is None and not (self._lists or self._custom)
            if is_plain and self.budget.admits(option):
                self._enter(_Entry(option))
            else:
                self._take(option)

    def finish(self) -> list[Option]:
        """Expand the placeholders, apply the remaining options, and return all of them without conditions and loops.

        ``main`` expands in this order: ``$(NAME)``, ``@(file)``, ``%(name)``. Options that ``inherit`` brings come
        later, so their placeholders stay.
        """
        waiting = [entry for entry in self._entries if "(" in entry.option.value and not entry.done]
        for symbol, lookup in (("$", self._variable), ("@", None), ("%", self._value)):
            for entry in waiting:
                if f"{symbol}(" in entry.option.value:
                    self._expand(entry, symbol, lookup)
        for entry in self._entries:
            if not entry.done:
                entry.done = True
                if entry.option.key in _APPLIED or entry.option.key in self._custom:
                    self._manage(entry.option)
            if entry.shown and "@(" in entry.option.value:
                self.unread.append(entry.option)
        return [e.option for e in self._entries if e.shown and e.option.key not in _HIDDEN]

    def _expand(self, entry: _Entry, symbol: str, lookup: Callable[[str], str | None] | None) -> None:
        option = entry.option

        def known(name: str) -> str | None:
            if lookup is None:
                return self.around.text(option, name)
            return calculate(option, name, lookup, self.budget) if symbol == "%" else lookup(name)

        # Anybody may have written the text that replaces a placeholder.
        entry.option = replace(option, value=expand(option, symbol, known, self.budget), trusted=False)

    def _value(self, key: str) -> str | None:
        return entry.option.value if (entry := self._first.get(key)) is not None else None

    def _variable(self, name: str) -> str | None:
        return self._environ[name] if name in self._environ else self.around.variable(name)

    def _take(self, option: Option, *, placeholder: bool = False) -> None:
        """Take one option as ``add_exported_option_do`` does: inside a body, once for each copy of the body."""
        self.budget.work(len(option.key), option)
        self._check_lists(option)
        if not self._in_body:
            if option.key in ENDS:
                self._logic = None
            if self._logic is not None:
                self._in_body = True
                for copy in self._copies(self._logic, option):
                    self._append(copy, placeholder=placeholder)
                self._in_body = False
                return
        self._append(option, placeholder=placeholder)

    def _append(self, option: Option, *, placeholder: bool) -> None:
        if self._in_body and self._logic is not None and self._logic.key in TESTS:
            option = replace(option, condition=self._logic)
        self.budget.option(option)
        self._enter(entry := _Entry(option, done=placeholder))
        if not placeholder and (option.key in IMMEDIATE or option.key in self._custom):
            entry.done = True
            self._manage(option)

    def _enter(self, entry: _Entry) -> None:
        self._entries.append(entry)
        if entry.option.value or not entry.option.trusted:
            # On the command line, an option without argument has no value for placeholders.
            self._first.setdefault(entry.option.key, entry)

    def _manage(self, option: Option) -> None:
        """Apply an option as ``uwsgi_manage_opt`` does, as far as it adds options or decides about others."""
        if self._depth > _MAX_DEPTH:
            raise _error(option, "includes and declared options are nested too deep", "flatten them")
        self._depth += 1
        if option.key in LOOPS or option.key in TESTS:
            self._open(option)
        elif option.key in SETS:
            self._set(option)
        elif option.key in INCLUDES or option.key in UNREADABLE:
            self._include(option)
        elif option.key == "declare-option":
            self._declare(option)
        elif option.key in self._custom:
            self._run_custom(option)
        elif option.key in _REMEMBERED:
            self._remember(option)
        self._depth -= 1

    def _include(self, option: Option) -> None:
        found = self.around.load(option) if option.key in INCLUDES else None
        if found is None:
            self.unread.append(option)
        else:
            self.add(found)

    def _remember(self, option: Option) -> None:
        """Keep what later options depend on: the environment, the blacklist and the whitelist."""
        name, equals, setting = option.value.partition("=")
        match option.key:
            case "env" if equals:
                self._environ[name] = setting
            case "env" | "unenv":
                self._environ[option.value] = None
            case "blacklist" | "whitelist":
                self._lists[option.key] = frozenset(option.value.split(" "))
            case "end-blacklist" | "end-whitelist":
                self._lists.pop(option.key.removeprefix("end-"), None)

    def _check_lists(self, option: Option) -> None:
        black, white = self._lists.get("blacklist"), self._lists.get("whitelist")
        if (black is not None and option.key in black) or (white is not None and option.key not in white):
            raise _error(option, "the config itself forbids this option", "see its blacklist or whitelist")

    def _open(self, option: Option) -> None:
        if self._logic is not None:
            raise _error(option, "a condition or loop stands inside another", "end the outer one first")
        self._logic = option
        if self._decide(option) is None and option.key not in {"for", "for-times"}:
            self.unread.append(option)

    def _set(self, option: Option) -> None:
        name, equals, value = option.value.partition("=")
        if not equals:
            raise _error(option, "this sets nothing", f"write {option.key} = name=value")
        self._take(replace(option, key=name, value=value), placeholder=option.key != "set")

    def _copies(self, logic: Option, option: Option) -> Iterator[Option]:
        """Yield the copies of a body's option that its condition or loop makes, with ``%(_)`` replaced."""
        self.budget.work(len(logic.value), logic)
        if logic.key == "for":
            items: Iterator[str] = (item for item in logic.value.split(" ") if item)
        elif logic.key == "for-times":
            items = (str(number) for number in range(1, _number(logic.value) + 1))
        else:
            decided = self._decide(logic)
            if decided is None:
                self.budget.option(option)
                self.unread.append(option)
            elif decided.holds:
                yield self._copy(option, decided.item)
            return
        yield from (self._copy(option, item) for item in items)

    def _copy(self, option: Option, item: str | None) -> Option:
        value = substitute(option, option.value, "%(_)", item, self.budget)
        return replace(option, value=value, trusted=option.trusted and value == option.value)

    def _decide(self, condition: Option) -> Decision | None:
        self.budget.charge(LOOKUP if condition.key in _OF_FILES else 0, condition.path, condition.line)
        return decide(condition, self.around, self._value, self._variable)

    def _declare(self, option: Option) -> None:
        name, equals, template = option.value.partition("=")
        if not equals:
            raise _error(option, "this declares nothing", "write declare-option = name=template")
        if name not in IMMEDIATE:
            self._custom.setdefault(name, template)

    def _run_custom(self, option: Option) -> None:
        """Apply at once what a declared option stands for (``uwsgi_opt_custom``)."""
        for derived in _filled_in(self._custom[option.key], option, self.budget):
            self.budget.option(derived)
            self._entries.append(_Entry(derived, done=True))
            self._manage(derived)


def _filled_in(template: str, option: Option, budget: Budget) -> Iterator[Option]:
    """Yield the options of a declared option's template, with the words of its value in place of ``$1`` and so on."""
    if option.value.count(" ") >= _MAX_ARGUMENTS:
        raise _error(option, "this declared option has too many arguments", "give it fewer")
    budget.charge(len(template) + STEP * template.count(";"), option.path, option.line)
    words = [word for word in option.value.split(" ") if word] if option.value else [""]
    for item in template.split(";"):
        key, equals, value = item.partition("=")
        if not equals:
            continue
        for number, word in enumerate(words, start=1):
            key = substitute(option, key, f"${number}", word, budget)
            value = substitute(option, value, f"${number}", word, budget)
        yield replace(option, key=key, value=value, trusted=False)


def _error(option: Option, message: str, hint: str) -> ConfigError:
    return ConfigError(message, option.path, option.line, hint)


def _number(text: str) -> int:
    """Read a number from the start of a text, as ``atoi`` of the C library does."""
    match = re.match(r"[ \t\n\v\f\r]*\+?([0-9]{1,9})", text)
    return int(match[1]) if match else 0
