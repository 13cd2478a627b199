"""Recognises a command that is written for a shell.

The Emperor gives the on-demand command to a shell, with the config in double quotes behind it. The bridge does not: a
shell would run what a config's name has in backticks. Pure.
"""

from __future__ import annotations

import re
import shlex

_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "busybox"})
_SINGLE_QUOTED = re.compile(r"'[^']*'|\\.", re.DOTALL)
_QUOTED = re.compile(r"""'[^']*'|"(?:[^"\\]|\\.)*"|\\.""", re.DOTALL)
_EXPANSION = re.compile(r"\$[\w({?#@*]|`")
_OPERATOR = re.compile(r"\|\|?|&&?|;|[0-9]*[<>]+&?[0-9]*|\(|\)")
_GLOB = re.compile(r"[*?]|\[[^\]]+\]|(?:^|(?<=\s))~")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_BUILTINS = frozenset({"cd", "export", "if", "for", "while", "case", "set", "eval", "exec", ".", "source", "{", "!"})


def shell_hint(command: str) -> str:
    """Return how to have a shell run a command that is written for one; an empty text for any other command."""
    if not (syntax := _shell_syntax(command)):
        return ""
    words = shlex.quote(f'{command} "$1"')
    return f"there is no shell, and {syntax} is an argument like any other; write sh -c {words} --"


def _shell_syntax(command: str) -> str:
    """Return the first part of a command that only a shell would understand."""
    try:
        words = shlex.split(command)
    except ValueError:
        return ""
    if not words or words[0].rpartition("/")[2] in _SHELLS:
        return ""
    if words[0] in _BUILTINS or _ASSIGNMENT.match(words[0]):
        return words[0]
    plain, expanded = _QUOTED.sub("", command), _SINGLE_QUOTED.sub("", command)
    found = _OPERATOR.search(plain) or _EXPANSION.search(expanded) or _GLOB.search(plain)
    return found[0] if found else ""
