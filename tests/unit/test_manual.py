"""The manual of codes has every code there is, once, and no other."""

from __future__ import annotations

import ast
import re
import subprocess

from .build import ROOT

PAGE = ROOT / "packaging/man/emperor-bridge-codes.7"
CODE = re.compile(r"[a-z]+(-[a-z]+)+|masked|batch|lock|manager|settings|template|daemonize")
TELLERS = {"problem", "_problem", "_warn", "_near", "refuse", "_find"}
COMPUTED = {"not-listening", "not-running", "uid-impossible", "gid-impossible", "unit-masked"}
"""Codes that are put together or chosen before they are used."""


def codes_in_use() -> set[str]:
    found = set(COMPUTED)
    for path in (ROOT / "bridge").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            given = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            if name in TELLERS:
                given += node.args
            found |= {str(g.value) for g in given if isinstance(g, ast.Constant) and CODE.fullmatch(str(g.value))}
    return found


def test_every_code_is_in_the_manual_once() -> None:
    entries = re.findall(r"^\.TP\n\.B (.+)\n\S", PAGE.read_text("utf-8"), re.MULTILINE)
    listed = [entry.replace("\\-", "-") for entry in entries]
    assert sorted(listed) == sorted(codes_in_use())


def test_the_manual_is_valid() -> None:
    environ = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "MANPAGER": "cat"}
    command = ["man", "--warnings=all", "--local-file", str(PAGE)]
    run = subprocess.run(command, check=False, capture_output=True, text=True, env=environ)
    assert (run.returncode, run.stderr) == (0, "")
    assert "address-conflict" in run.stdout
