"""What one module, class or function of the bridge may grow to, so that a reader can hold it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
MODULE_MAX = 300
CLASS_MAX = 200
FUNCTION_MAX = 60
"""Lines, with decorators, docstring and blank lines."""


def too_long(name: str, text: str) -> Iterator[str]:
    """Yield a line for a module that is too long, and for each class and function in it that is."""
    if (lines := len(text.splitlines())) > MODULE_MAX:
        yield f"{name}: {lines} lines, and a module has at most {MODULE_MAX}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            kind, limit = "class", CLASS_MAX
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            kind, limit = "function", FUNCTION_MAX
        else:
            continue
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        if (lines := (node.end_lineno or first) - first + 1) > limit:
            yield f"{name}:{first}: {node.name} has {lines} lines, and a {kind} has at most {limit}"


def test_nothing_in_the_bridge_is_too_long() -> None:
    modules = sorted((ROOT / "bridge").rglob("*.py"))
    assert len(modules) > 50
    found = [line for path in modules for line in too_long(str(path.relative_to(ROOT)), path.read_text("utf-8"))]
    assert not found, "\n".join(["", *found])


def test_the_limits_are_exact() -> None:
    def function(lines: int, indent: str = "") -> str:
        return f"{indent}@cache\n{indent}def f():\n" + f"{indent}    x = 1\n" * (lines - 2)

    method = function(10, "    ")
    assert list(too_long("m", function(FUNCTION_MAX))) == []
    assert len(list(too_long("m", function(FUNCTION_MAX + 1)))) == 1
    assert list(too_long("m", "class C:\n    y = 1\n" + method * 19 + "    y = 1\n" * 8)) == []
    assert len(list(too_long("m", "class C:\n    y = 1\n" + method * 19 + "    y = 1\n" * 9))) == 1
    assert list(too_long("m", "x = 1\n" * MODULE_MAX)) == []
    assert len(list(too_long("m", "x = 1\n" * (MODULE_MAX + 1)))) == 1
