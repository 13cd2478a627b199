"""systemd's quoting: unit names against the machine's systemd-escape, words by a reader of systemd.syntax(7)."""

from __future__ import annotations

import os
import re
import subprocess
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bridge.model.unit_names import EscapeError, path_label, unit_label
from bridge.units.quoting import argument, file_url, value, word
from tests.fuzz.syntax import expand_specifiers, expand_variables, split_words

TEXT = st.text().map(lambda text: text.replace("\0", ""))
AWKWARD = st.text(st.sampled_from(" %$\"'\\\n\t\r\x01\x7f;#-@.{}aé:/"))
ANY = TEXT | AWKWARD
NAMES = st.binary(min_size=1, max_size=40).filter(lambda raw: b"\0" not in raw).map(os.fsdecode)
PART = st.binary(min_size=1, max_size=12).filter(lambda raw: not set(raw) & set(b"\0/") and raw not in {b".", b".."})
PATHS = st.lists(PART, max_size=4).map(lambda parts: os.fsdecode(b"/" + b"/".join(parts)))


def fits_one_line(text: str) -> bool:
    return not any(c in "\n\r\0" for c in text) and not text.endswith("\\")


@settings(max_examples=300, deadline=None)
@given(st.lists(ANY, min_size=1, max_size=5))
def test_words_round_trip(texts: list[str]) -> None:
    line = " ".join(map(word, texts))
    assert fits_one_line(line)
    assert [expand_specifiers(w) for w in split_words(line)] == texts


@settings(max_examples=300, deadline=None)
@given(st.lists(ANY, min_size=1, max_size=5))
def test_arguments_round_trip(texts: list[str]) -> None:
    line = " ".join(map(argument, texts))
    assert fits_one_line(line)
    assert [expand_variables(expand_specifiers(w)) for w in split_words(line)] == texts


@settings(max_examples=300, deadline=None)
@given(PATHS)
def test_the_url_of_a_file_round_trips(path: str) -> None:
    (line,) = split_words(word(file_url(path)))
    url = urlsplit(expand_specifiers(line))
    assert (url.scheme, url.netloc, url.query, url.fragment) == ("file", "", "", "")
    assert unquote_to_bytes(url.path) == os.fsencode(path)


@pytest.mark.parametrize("text", [";", "", "-x", "a;b", "#", "a b", "${HOME}", "%h", "\\", '"', "'"])
def test_an_argument_is_never_syntax(text: str) -> None:
    quoted = argument(text)
    assert quoted != ";"
    assert split_words(f"/bin/x {quoted} end")[2:] == ["end"]
    assert expand_variables(expand_specifiers(split_words(quoted)[0])) == text


@settings(max_examples=300, deadline=None)
@given(ANY)
def test_a_value_is_exact_or_refused(text: str) -> None:
    unfit = (
        not text
        or any(ord(c) < 32 or c == "\x7f" for c in text)
        or text[0] == " "
        or text[-1] in " \\"
    )  # fmt: skip
    if unfit:
        with pytest.raises(EscapeError):
            value(text)
    else:
        written = value(text)
        assert fits_one_line(written)
        assert expand_specifiers(written.strip(" \t\n\r")) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("a\nb", "control character"),
        ("a\x7f", "control character"),
        (" a", "white space"),
        ("a ", "white space"),
        ("a\\", "backslash"),
        ("a\0", "NUL"),
        ("a\udcff", "UTF-8"),
    ],
)
def test_why_a_value_is_refused(text: str, why: str) -> None:
    with pytest.raises(EscapeError, match=why):
        value(text)


@pytest.mark.parametrize("quote", [word, argument])
@pytest.mark.parametrize(("text", "why"), [("a\0", "NUL"), ("\udcff", "UTF-8")])
def test_what_no_word_can_hold(quote: type[str], text: str, why: str) -> None:
    with pytest.raises(EscapeError, match=why):
        quote(text)


@settings(max_examples=5, deadline=None, phases=[Phase.generate])
@given(st.lists(NAMES, min_size=100, max_size=200))
def test_labels_are_those_of_systemd_escape(names: list[str]) -> None:
    assert [unit_label(name) for name in names] == systemd_escape("--", *names)


@settings(max_examples=5, deadline=None, phases=[Phase.generate])
@given(st.lists(PATHS, min_size=100, max_size=200))
def test_path_labels_are_those_of_systemd_escape(paths: list[str]) -> None:
    assert [path_label(path) for path in paths] == systemd_escape("--path", "--", *paths)


@settings(max_examples=5, deadline=None, phases=[Phase.generate])
@given(st.lists(NAMES, min_size=50, max_size=100))
def test_systemd_takes_labels_back(names: list[str]) -> None:
    labels = [unit_label(name) for name in names]
    # What is unescaped may hold blanks and newlines, so each is asked to be escaped again.
    assert all(re.fullmatch(r"[A-Za-z0-9:_.\\-]+", label) for label in labels)
    assert systemd_escape("--mangle", "--", *(f"vassal-{label}.service" for label in labels)) == [
        f"vassal-{label}.service" for label in labels
    ]


@given(st.lists(NAMES, min_size=2, max_size=2, unique=True))
def test_labels_are_distinct(names: list[str]) -> None:
    assert unit_label(names[0]) != unit_label(names[1])


def test_a_unit_needs_a_name() -> None:
    with pytest.raises(EscapeError, match="no name"):
        unit_label("")


@pytest.mark.parametrize("path", ["", "a", "./a", "/a/../b", "/a/./b", "/a//b", "/.."])
def test_only_normalised_paths_name_units(path: str) -> None:
    with pytest.raises(EscapeError, match="absolute path"):
        path_label(path)


def test_the_root_has_a_label() -> None:
    assert path_label("/") == "-"


def systemd_escape(*arguments: str) -> list[str]:
    """Escape many names in one run; the tool puts blanks between its answers."""
    run = subprocess.run(["systemd-escape", *arguments], check=True, capture_output=True, timeout=30)
    return os.fsdecode(run.stdout).removesuffix("\n").split(" ")
