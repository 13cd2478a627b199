from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.host import patterns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Glob(ctypes.Structure):
    """``glob_t`` of glob.h."""

    _fields_ = (
        ("count", ctypes.c_size_t),
        ("paths", ctypes.POINTER(ctypes.c_char_p)),
        ("offset", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("functions", ctypes.c_void_p * 5),
    )


NOCHECK = 1 << 4
LIBC = ctypes.CDLL(None)


def libc_glob(pattern: str) -> list[str]:
    """Call glob(3) as the Emperor does, in the C locale, without what ``.`` and ``..`` lead to."""
    found = Glob()
    with patterns._c_locale():
        assert LIBC.glob(os.fsencode(pattern), NOCHECK, None, ctypes.byref(found)) == 0
    paths = [os.fsdecode(found.paths[at] or b"") for at in range(found.count)]
    LIBC.globfree(ctypes.byref(found))
    return without_dots(path for path in paths if os.path.lexists(path))


def without_dots(paths: Iterable[str]) -> list[str]:
    return [path for path in paths if not {".", ".."} & set(path.split("/"))]


NAMES = (
    ["a", "b", "ab", "A", "-", "]", "[", "[a", "[a]", "a]", "^", "!", "*", "?", "a*", "{a,b}", "~", "a b", "a\\", "\\"]
    + [".h", "..h", "x.ini", "_x.ini", ".x.ini", "a.b.ini", "é.ini", "1", "a\nb"]
    + [os.fsdecode(name) for name in (b"\xff", b"a\xff.ini", b"\xc3")]
)


@pytest.fixture(scope="module")
def tree() -> Iterator[str]:
    """A folder with awkward files, folders and links."""
    folder = tempfile.mkdtemp()
    for name in NAMES:
        Path(folder, name).touch()
        Path(folder, f"d{name}").mkdir()
        Path(folder, f"d{name}", name).touch()
    Path(folder, "dangling").symlink_to("nowhere")
    Path(folder, "link").symlink_to("da")
    Path(folder, "loop").symlink_to(".")
    Path(folder, "file").symlink_to("a")
    yield folder
    shutil.rmtree(folder)


CASES = {
    "[^_]*.ini": "negation",
    "[!_]*.ini": "negation",
    "[_^]*.ini": "^ elsewhere",
    "[a-b]": "range",
    "[b-a]": "empty range",
    "[]a]": "] first",
    "[!]a]*": "] first, negated",
    "[a-]": "- last",
    "[--0]": "- as start",
    "[[:alpha:]]*": "class",
    "[[:upper:][:digit:]]": "classes",
    "[![:alpha:]]": "class, negated",
    "[[:nothing:]]": "no class",
    "[[=a=]]": "equivalence",
    "[[.-.]a]": "collating symbol",
    "\\*": "escape",
    "\\[a\\]": "escaped bracket",
    "[\\]]": "escape in brackets",
    "a\\\\": "escaped backslash",
    "a\\": "backslash at the end",
    "d*\\/a": "backslash before a slash",
    "*": "dots are hidden",
    "?h": "dots and ?",
    "[.]h": "dots and brackets",
    ".*": "a dot",
    "[!a]h": "dots and negation",
    "*/a": "in folders",
    "d[a/b]a": "slash in brackets",
    "d[/]a": "slash in brackets",
    "[": "unmatched",
    "[a": "unmatched",
    "d[a/[a": "unmatched in a step",
    "**": "no recursion",
    "**/a": "no recursion",
    "{a,b}": "braces",
    "{a,b}*": "braces",
    "~": "tilde",
    "?": "a byte",
    "??.ini": "bytes",
    "a?.ini": "a byte that is no text",
    "[\udcff]": "a byte in brackets",
    "dang*": "a dangling link",
    "dangling": "a dangling link by name",
    "l*/*": "links to folders",
    "loop/loop/loop/l*/a": "loops",
    "file/*": "no folder",
    "*/": "folders only",
    "[x]": "nothing",
    "[[]a": "a bracket by brackets",
}


@pytest.mark.parametrize("pattern", CASES)
def test_as_glob(tree: str, pattern: str) -> None:
    written = f"{tree}/{pattern}"
    paths = libc_glob(written)
    assert patterns.expand(written).paths == paths


def all_paths(folder: str) -> list[str]:
    paths = [f"{folder}/{name}" for name in os.listdir(folder)]
    return [*paths, *(f"{path}/{name}" for path in paths if os.path.isdir(path) for name in os.listdir(path))]


PIECES = st.sampled_from(
    [*"ab*?[]!^-\\/.{},~:", "[!", "[^", "[[:alpha:]]", "[a-z]", "\\[", "d", "é", "\udcff", "\n", ".ini", "*", "x"]
)


@settings(max_examples=300, deadline=None)
@given(pieces=st.lists(PIECES, min_size=1, max_size=7))
def test_any_pattern(tree: str, pieces: list[str]) -> None:
    pattern = "".join(pieces)
    # glob(3) drops the last slash of a pattern, but for folders.
    if "//" in pattern or pattern.startswith("/") or pattern.endswith("/"):
        return
    written = f"{tree}/{pattern}"
    expected = libc_glob(written)
    assert without_dots(patterns.expand(written).paths) == expected
    found = {path for path in expected if path != written and not path.endswith("/")}
    assert all(patterns.match(path, written) and patterns.match_folder(path, written) for path in found)
    assert {path for path in all_paths(tree) if patterns.match(path, written)} <= {*expected, written}


def test_the_first_folder() -> None:
    assert patterns.first_folder("/a/b*/c") == "/a/"
    assert patterns.first_folder("/a/b/c.ini") == "/a/b/"
    assert patterns.first_folder("/*") == "/"
    assert patterns.first_folder("/a/[b/c/*") == "/a/[b/c/"
    assert patterns.first_folder("/a\\[1]/*") == "/a[1]/"


def test_escaped(tree: str) -> None:
    for name in NAMES:
        assert patterns.expand(patterns.escape(f"{tree}/{name}")).paths == [f"{tree}/{name}"]
        assert not patterns.is_special(patterns.escape(name))


def test_what_is_looked_at(tree: str) -> None:
    found = patterns.expand(f"{tree}/d[ab]/*/x/app.ini")
    assert found.folders == [tree, f"{tree}/da", f"{tree}/db"]
    assert patterns.expand(f"{tree}/da/none/app.ini").files == [f"{tree}/da/none/app.ini"]
    assert patterns.expand(f"{tree}/d[ab]/n/app.ini").files[:2] == [f"{tree}/d{n}/n/app.ini" for n in "ab"]


def test_one_branch_with_too_much_is_cut(tree: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "MAX_BRANCH_PATHS", 10)
    found = patterns.expand(f"{tree}/[dl]*/*")
    assert found.cut == [f"{tree}/loop"]
    assert len([path for path in found.paths if path.startswith(f"{tree}/loop/")]) == 10
    assert f"{tree}/link/a" in found.paths


def test_folders_that_lead_back_are_bounded(tree: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "MAX_BRANCH_ENTRIES", 500)
    found = patterns.expand(f"{tree}/*/*/*/*/*/*/*/*/none")
    assert found.cut == [f"{tree}/loop"]
    assert len(found.folders) < 500


def test_too_much_in_the_admins_folder(tree: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "MAX_ENTRIES", 20)
    with pytest.raises(patterns.TooManyError):
        patterns.expand(f"{tree}/*")


def test_no_other_thread_gets_the_locale() -> None:
    seen: list[int] = []
    LIBC.uselocale.restype = ctypes.c_void_p
    with patterns._c_locale():
        thread = threading.Thread(target=lambda: seen.append(LIBC.uselocale(None)))
        thread.start()
        thread.join()
        assert LIBC.uselocale(None) != seen[0]
    assert LIBC.uselocale(None) == seen[0]


def test_a_pattern_with_a_nul() -> None:
    assert patterns.expand("/tmp/\0*").paths == []
    assert patterns.expand("/tmp\0/*").paths == []
