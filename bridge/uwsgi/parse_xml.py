"""Parses XML as uWSGI does (core/xmlconf.c, built with libxml2)."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bridge.uwsgi.budget import TOKEN, Budget
from bridge.uwsgi.build import joins_cdata
from bridge.uwsgi.options import ConfigError, Option

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_DEPTH = 256
"""libxml2's own limit (parser.h, xmlParserMaxDepth)."""
_HINT = "uWSGI reads <uwsgi><name>value</name></uwsgi>"


@dataclass(slots=True)
class _Node:
    kind: str
    """``element``, ``text``, ``cdata``, ``comment`` or ``pi``."""
    line: int
    content: str = ""
    """An element's name, or the text of anything else."""
    id: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[_Node] = field(default_factory=list)


def parse(
    text: str, *, path: str, section: str = "uwsgi", budget: Budget | None = None, program: str = ""
) -> list[Option]:
    """Return the options of the ``<uwsgi>`` element, with the line of each start tag.

    core/xmlconf.c, ``uwsgi_xml_config``: an element is an option. Its value is its first child with all blanks, or 1
    if it has no child. ``<app>`` is a mount; CDATA directly in ``<uwsgi>`` is ``eval``. With a ``section`` other than
    uwsgi, elements with another ``id`` are ignored. Unlike libxml2, this parser refuses a document type, because
    entities can read files and fill memory, and any encoding but UTF-8. ``program`` is the uWSGI that will read it.
    """
    asked = None if section == "uwsgi" else section
    root = _tree(text, path, _Builder(path, 4 * len(text), program, budget or Budget()))
    if root.content != "uwsgi":
        root = _uwsgi_in(root, asked, path)
    return [option for node in root.children if _wanted(node, asked) for option in _options(node, path)]


def _wanted(node: _Node, asked: str | None) -> bool:
    own = node.attributes.get("id")
    return asked is None or own is None or own == asked


def _uwsgi_in(root: _Node, asked: str | None, path: str) -> _Node:
    if not root.children:
        # An empty root of any name is an empty config.
        return root
    for node in root.children:
        if node.kind == "element" and node.content == "uwsgi" and _wanted(node, asked):
            return node
    raise ConfigError("there is no <uwsgi> element", path, root.line, _HINT)


def _options(node: _Node, path: str) -> Iterator[Option]:
    if node.kind == "cdata":
        yield Option("eval", node.content, path, node.line)
    elif node.kind == "element" and node.content == "app":
        yield from _app(node, path)
    elif node.kind == "element":
        yield Option(node.content, _value(node, path) if node.children else "1", path, node.line)


def _value(node: _Node, path: str) -> str:
    first = node.children[0]
    if first.kind == "element":
        raise ConfigError("an option holds an element where its value should be", path, node.line, _HINT)
    return first.content


def _app(node: _Node, path: str) -> Iterator[Option]:
    """Yield the options of ``<app mountpoint="/x">app.py</app>``; it may be in an element such as ``<script>``."""
    children = node.children
    value = None
    if len(children) == 1 and children[0].kind != "element":
        value = children[0].content
    elif len(children) > 1 and children[1].children and children[1].children[0].kind != "element":
        value = children[1].children[0].content
    if value is not None:
        prefixes = (("mountpoint", "="), ("domain", "|="))
        prefix = next((node.attributes[n] + sign for n, sign in prefixes if n in node.attributes), "")
        yield Option("mount", prefix + value, path, node.line)
    if value is not None or not children:
        yield Option("app", "", path, node.line)


def _tree(text: str, path: str, builder: _Builder) -> _Node:
    # Imported here because most vassals are ini files, and these modules load slowly.
    from xml.parsers.expat import ExpatError

    from defusedxml.common import DefusedXmlException

    try:
        builder.expat.Parse(text, True)
    except ExpatError as error:
        raise ConfigError("this is not XML", path, error.lineno, _HINT) from None
    except DefusedXmlException:
        hint = "remove the document type and its entities"
        raise ConfigError("a config may have no document type", path, builder.line, hint) from None
    except UnicodeError:
        raise ConfigError("this is not UTF-8 text", path, None, "save it in UTF-8") from None
    return builder.document.children[0]


class _Builder:
    """Builds the nodes that uWSGI uses, with the expat parser that defusedxml has secured."""

    def __init__(self, path: str, size: int, program: str, budget: Budget) -> None:
        from defusedxml.ElementTree import DefusedXMLParser

        self._path = path
        self._program = program
        self._budget = budget
        self.document = _Node("document", 1)
        self._open = [self.document]
        self._in_cdata = False
        self.expat: Any = DefusedXMLParser(forbid_dtd=True).parser
        self.expat.StartElementHandler = self._start
        self.expat.EndElementHandler = self._end
        self.expat.CharacterDataHandler = self._characters
        self.expat.CommentHandler = lambda text: self._add(_Node("comment", self.line, text))
        self.expat.ProcessingInstructionHandler = lambda _target, text: self._add(_Node("pi", self.line, text))
        self.expat.StartCdataSectionHandler = self._start_cdata
        self.expat.EndCdataSectionHandler = self._end_cdata
        # defusedxml sets these two for ElementTree's tree, but this class builds its own.
        self.expat.DefaultHandlerExpand = None
        self.expat.ordered_attributes = False
        # The buffer makes one node of a whole text: joining pieces would take quadratic time.
        self.expat.buffer_text = True
        self.expat.buffer_size = max(size, 1)

    @property
    def line(self) -> int:
        return int(self.expat.CurrentLineNumber)

    @functools.cached_property
    def _joins_cdata(self) -> bool:
        return joins_cdata(self._program)

    def _add(self, node: _Node) -> None:
        self._budget.charge(TOKEN, self._path, node.line)
        # Text, comments and instructions outside the root element are ignored.
        if node.kind == "element" or len(self._open) > 1:
            self._open[-1].children.append(node)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._budget.charge(TOKEN * len(attributes), self._path, self.line)
        node = _Node("element", self.line, _local(name), attributes=attributes)
        if len(self._open) > _MAX_DEPTH:
            raise ConfigError("this is nested too deep", self._path, node.line, _HINT)
        self._add(node)
        self._open.append(node)

    def _end(self, _name: str) -> None:
        self._open.pop()

    def _start_cdata(self) -> None:
        self._in_cdata = True
        siblings = self._open[-1].children
        if not siblings or siblings[-1].kind != "cdata" or not self._joins_cdata:
            self._add(_Node("cdata", self.line))

    def _end_cdata(self) -> None:
        self._in_cdata = False

    def _characters(self, text: str) -> None:
        kind = "cdata" if self._in_cdata else "text"
        siblings = self._open[-1].children
        if not siblings or siblings[-1].kind != kind:
            self._add(_Node(kind, self.line))
        self._budget.charge(len(siblings[-1].content) + len(text) + TOKEN, self._path, self.line)
        siblings[-1].content += text


def _local(name: str) -> str:
    return name.rpartition("}")[2]
