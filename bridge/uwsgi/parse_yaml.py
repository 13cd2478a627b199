"""Parses YAML as uWSGI does: token by token, without building a tree (core/yaml.c, built with libyaml)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bridge.uwsgi.budget import TOKEN, Budget
from bridge.uwsgi.options import ConfigError, Option

if TYPE_CHECKING:
    from collections.abc import Iterator

_SEQUENCE_STARTS = frozenset({"FlowSequenceStartToken", "BlockSequenceStartToken"})
_ENDS = frozenset({"BlockEndToken", "FlowSequenceEndToken"})
_STATES = {
    "KeyToken": "key",
    "ValueToken": "value",
    **dict.fromkeys((*_SEQUENCE_STARTS, "FlowEntryToken", "BlockEntryToken"), "sequence"),
}
_MAX_DEPTH = 100
"""Limit of nested brackets: for every token, libyaml's scanner visits all open ones."""
_SLOW = 500
"""The cost of one character where PyYAML is built without libyaml."""
_FLOW_DEPTH = {
    **dict.fromkeys(("FlowSequenceStartToken", "FlowMappingStartToken"), 1),
    **dict.fromkeys(("FlowSequenceEndToken", "FlowMappingEndToken"), -1),
}
_HINT = "uWSGI reads a mapping named uwsgi of names to plain values or lists of them"


def parse(text: str, *, path: str, section: str = "uwsgi", budget: Budget | None = None) -> list[Option]:
    """Return the options of the block mapping ``section``.

    It goes through libyaml's tokens exactly as ``uwsgi_yaml_config`` does. So scalars stay as written (``yes`` is
    ``yes``), a list repeats its option, and a flow mapping is no section. It ends with the section, or at
    the first scalar in an unexpected place, such as that of an anchor or a tag.
    """
    options: list[Option] = []
    depth = 0
    key: str | None = None
    state = ""
    for name, token in _tokens(text, path, budget or Budget()):
        if name == "ScalarToken":
            if not state:
                return options
            if state == "key":
                key = token.value
                continue
            if key is not None and depth:
                options.append(_option(key, token.value, path, token.start_mark.line + 1))
            if state == "value":
                key, state = None, ""
        elif name == "BlockMappingStartToken":
            depth += 1 if depth or key == section else 0
        elif name in _ENDS:
            key, state = None, ""
            if depth == 1:
                return options
            depth -= bool(depth)
        else:
            state = _STATES.get(name, "")
            depth += bool(depth) and name in _SEQUENCE_STARTS
    return options


def _tokens(text: str, path: str, budget: Budget) -> Iterator[tuple[str, Any]]:
    import yaml

    # With libyaml, PyYAML has the same scanner as uWSGI, which is fast even on hostile input.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    if loader is yaml.SafeLoader:
        # The scanner in Python goes through the text a character at a time.
        budget.charge(_SLOW * len(text), path, 1)
    try:
        depth = 0
        for token in yaml.scan(text, Loader=loader):
            budget.charge(TOKEN, path, token.start_mark.line + 1)
            name = type(token).__name__
            depth += _FLOW_DEPTH.get(name, 0)
            if depth > _MAX_DEPTH:
                raise ConfigError("this is nested too deep", path, token.start_mark.line + 1, _HINT)
            yield name, token
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else None
        raise ConfigError("this is not YAML", path, line, _HINT) from None
    except UnicodeError:
        raise ConfigError("this is not UTF-8 text", path, None, "uWSGI reads YAML in UTF-8") from None


def _option(key: str, value: str, path: str, line: int) -> Option:
    if "\0" in key or "\0" in value:
        raise ConfigError("a name or value contains a NUL", path, line, "remove the \\0")
    return Option(key, value, path, line)
