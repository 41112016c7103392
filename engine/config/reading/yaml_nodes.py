"""YAML as a tree of nodes that know their place: every scalar is its text, nothing is guessed.

YAML 1.1's implicit types turn `NO` into false and `22:00` into 1320, so no type is resolved here: the place of a scalar
decides its meaning. Duplicate keys, anchors, aliases, tags and a second document are refused, because each of them
makes a file mean something else than it seems to. Lines and columns count from 1.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from engine.model.errors import ConfigError

MAX_FILE_BYTES = 8 * 1024 * 1024  # a code table of 50,000 rows has 5 MB; a mapping has some kB
MAX_DEPTH = 64
KeyPath = tuple[str | int, ...]  # keys of maps and positions in lists, from the root
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where PyYAML was built with it, ten times faster


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A scalar, list or map of a YAML file.

    Attributes:
        kind: ``scalar``, ``list`` or ``map``.
        value: a scalar's text, else empty.
        items: a list's elements, else empty.
        pairs: a map's keys and values in the order of the file, else empty; keys are scalars.
        plain: a scalar written without quotes or block sign.
        style: how a scalar is written: empty (plain), a quote, ``|`` or ``>``.
        multiline: a scalar that spreads over several lines.
    """

    kind: str
    file: str
    line: int
    column: int
    value: str = ""
    items: tuple["Node", ...] = ()
    pairs: tuple[tuple["Node", "Node"], ...] = ()
    style: str = ""
    multiline: bool = False

    @property
    def plain(self) -> bool:
        return self.kind == "scalar" and not self.style

    @property
    def place(self) -> str:
        """``file:line:column``, as every problem begins."""
        return f"{self.file}:{self.line}:{self.column}"

    def problem(self, text: str, *, offset: int = 0) -> str:
        """One line for `ConfigError`; ``offset`` counts characters into a scalar's text."""
        line, column = self.at(offset)
        return f"{self.file}:{line}:{column}: {text}"

    def at(self, offset: int) -> tuple[int, int]:
        """Line and column of the character at ``offset`` of a scalar; of its start where the text was folded."""
        if self.kind != "scalar" or self.multiline or self.style in ("|", ">"):
            return self.line, self.column
        if self.style == "'":
            return self.line, self.column + 1 + offset + self.value[:offset].count("'")
        if self.style == '"':
            return self.line, self.column + 1 + offset
        return self.line, self.column + offset

    def get(self, key: str) -> "Node | None":
        """The value under ``key`` of a map, or None."""
        for name, value in self.pairs:
            if name.value == key:
                return value
        return None

    def key(self, key: str) -> "Node | None":
        """The key's own node, for problems about the key."""
        for name, _ in self.pairs:
            if name.value == key:
                return name
        return None

    def keys(self) -> Iterator[str]:
        return (name.value for name, _ in self.pairs)


def read(text: str, file: str) -> Node:
    """The one document of ``text``; an empty file is an empty map.

    Args:
        file: the name that problems carry.

    Raises:
        ConfigError: not YAML, or YAML that we refuse (see the module).
    """
    if len(text) > MAX_FILE_BYTES:
        raise ConfigError(f"{file}:1:1: larger than {MAX_FILE_BYTES} bytes; split the file")
    reader = _Reader(text, file)
    try:
        root = reader.root()
    except yaml.YAMLError as error:
        raise ConfigError(_describe(error, text, file)) from error
    if reader.problems:
        raise ConfigError(*reader.problems)
    return root or Node(kind="map", file=file, line=1, column=1)


def read_file(path: Path, name: str = "") -> Node:
    """As `read`, from a file in UTF-8.

    Args:
        name: the file's name in problems; its path if empty.

    Raises:
        ConfigError: also where the file cannot be read or is not UTF-8.
    """
    name = name or str(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{name}:1:1: cannot be read ({error.strerror}); check the path and its rights") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}:1:1: not UTF-8 (byte {error.start}); save it as UTF-8") from error
    return read(text, name)


def line(node: Node, path: KeyPath, text: str) -> str:
    """A line for `ConfigError` about the key at ``path``, whose node this is."""
    shown = ".".join(_visible(str(step)) for step in path)
    return node.problem(f"{shown}: {text}" if shown else text)


def _visible(step: str) -> str:
    """A key as a person must see it to find the slip: a blank that is none, a letter of another alphabet."""
    return step if step.isascii() and step.isprintable() and step == step.strip() else ascii(step)


def walk(root: Node, path: KeyPath) -> Node:
    """The node at ``path``, or the last one on the way that exists."""
    node = root
    for step in path:
        if node.kind == "map" and (inner := node.get(str(step))) is not None:
            node = inner
        elif node.kind == "list" and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
    return node


def _describe(error: yaml.YAMLError, text: str, file: str) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return f"{file}:1:1: not readable as YAML: a control character; remove it"
    what = str(getattr(error, "problem", "") or "not readable as YAML").strip()
    lines = text.splitlines()
    source = lines[mark.line] if mark.line < len(lines) else ""
    hint = ""
    if re.search(r"[{,:] *\$\{", source):
        hint = '; put quotes around it inside {...} or [...], as "${NAME}"'
    elif "escape character" in what:
        hint = "; inside double quotes a backslash begins an escape: use single quotes, as '\\d+'"
    elif "=" in source and any(sign in source for sign in "[{,"):
        hint = "; put quotes around an expression with [ ] , { } or ? inside {...} or [...]"
    elif "\t" in source:
        hint = "; indent with blanks, not with a TAB"
    elif ": " in source.partition(": ")[2]:
        hint = "; put quotes around a text that contains a colon and a blank"
    return f"{file}:{mark.line + 1}:{mark.column + 1}: not readable as YAML: {what}{hint or '; check the indentation'}"


class _Reader:
    """Nodes from the parser's events. Events, not PyYAML's own tree: that one has forgotten anchors and tags."""

    def __init__(self, text: str, file: str) -> None:
        self._events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)  # PyYAML's types leave open what is always there
        self._file = file
        self.problems: list[str] = []

    def root(self) -> Node | None:
        """The first document's; all of the text is read."""
        found: list[Node] = []
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent) and found:
                self._problem(event, "a second document (---) is not allowed; put it into a file of its own")
            elif isinstance(event, yaml.NodeEvent):
                found.append(self._node(event, 1))
        return found[0] if found else None

    def _node(self, event: Any, depth: int) -> Node:
        """The node that begins with ``event``; its end is taken."""
        start = event.start_mark
        place: dict[str, Any] = {"file": self._file, "line": start.line + 1, "column": start.column + 1}
        if isinstance(event, yaml.AliasEvent):
            self._problem(event, f"alias *{event.anchor} is not allowed; write the value out or use a fragment")
            return Node(kind="scalar", **place)
        if event.anchor:
            self._problem(event, f"anchor &{event.anchor} is not allowed; write the value out")
        if event.tag:
            shown = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._problem(event, f"tag {shown} is not allowed; remove it, types come from the place")
        if isinstance(event, yaml.ScalarEvent):
            lines = (event.end_mark or start).line - start.line
            return Node(kind="scalar", value=event.value, style=event.style or "", multiline=lines > 0, **place)
        if depth > MAX_DEPTH:
            self._problem(event, f"nested deeper than {MAX_DEPTH} levels; flatten it")
            raise ConfigError(self.problems[-1])
        if isinstance(event, yaml.SequenceStartEvent):
            return Node(kind="list", items=tuple(self._inside(yaml.SequenceEndEvent, depth)), **place)
        return Node(kind="map", pairs=tuple(self._pairs(depth)), **place)

    def _inside(self, end: type[yaml.Event], depth: int) -> Iterator[Node]:
        while not isinstance(event := next(self._events), end):
            yield self._node(event, depth + 1)

    def _pairs(self, depth: int) -> Iterator[tuple[Node, Node]]:
        first: dict[str, int] = {}  # key -> its line
        nodes = self._inside(yaml.MappingEndEvent, depth)
        for key in nodes:
            if key.kind != "scalar":
                self.problems.append(f"{key.place}: a key must be a plain text; put quotes around it")
            elif key.value in first:
                said = f"key '{key.value}' is here a second time (first in line {first[key.value]}); remove one"
                self.problems.append(f"{key.place}: {said}")
            else:
                first[key.value] = key.line
            yield key, next(nodes)

    def _problem(self, event: Any, text: str) -> None:
        mark = event.start_mark
        self.problems.append(f"{self._file}:{mark.line + 1}:{mark.column + 1}: {text}")
