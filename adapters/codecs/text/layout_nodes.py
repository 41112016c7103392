"""Read single nodes of a layout's YAML, and keep every problem with its place. Pure.

Nodes come from the engine's strict YAML reader; each knows its file, line and column, and every problem begins with
them.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Protocol, TypeVar

from adapters.codecs.text.framing import NAMES, wire

C = TypeVar("C", bound=str)

DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m)")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}


class Node(Protocol):
    """The part of `engine.config.reading.yaml_nodes.Node` that the reader needs."""

    kind: str
    value: str
    file: str
    line: int
    column: int
    items: "tuple[Node, ...]"
    pairs: "tuple[tuple[Node, Node], ...]"

    def problem(self, text: str) -> str: ...


class NodeReader:
    """Collects problems; an unreadable value is replaced by a harmless one, so that reading goes on.

    A key that is not given has no node: each method then returns what that means.
    """

    def __init__(self) -> None:
        self._problems: list[tuple[int, int, str]] = []  # line and column: their order

    @property
    def problems(self) -> list[str]:
        """All of them, in the order of the file."""
        return [text for *_, text in sorted(self._problems)]

    def block(self, node: Node | None, *known: str) -> dict[str, Node]:
        made = {}
        for key, value in self.pairs(node):
            if key.value in known:
                made[key.value] = value
            else:
                others = hint(key.value, known) or f"; known here: {', '.join(known)}"
                self.problem(key, f"unknown key '{key.value}'{others}")
        return made

    def pairs(self, node: Node | None) -> "tuple[tuple[Node, Node], ...]":
        if node is None:
            return ()
        if node.kind != "map":
            self.problem(node, "expected keys and values")
        return node.pairs

    def items(self, node: Node | None) -> tuple[Node, ...]:
        if node is None:
            return ()
        if node.kind != "list":
            self.problem(node, "expected a list, whose entries begin with -")
        return node.items

    def listed(self, node: Node | None) -> tuple[Node, ...]:
        """A single value where a list is allowed is a list of one."""
        return (node,) if node is not None and node.kind == "scalar" else self.items(node)

    def words(self, node: Node | None) -> tuple[str, ...]:
        return tuple(self.word(item) for item in self.listed(node))

    def word(self, node: Node | None, *, empty: bool = False) -> str:
        if node is None:
            return ""
        if node.kind != "scalar" or not (node.value or empty):
            self.problem(node, "expected a text")
            return ""
        return node.value

    def octets(self, node: Node | None) -> bytes:
        if node is None:
            return b""
        try:
            return wire(self.word(node))
        except ValueError as error:
            self.problem(node, str(error))
            return b""

    def marks(self, node: Node | None) -> bytes:
        """Bytes of a framing, where the name of a control character alone is never meant as text."""
        text = node.value if node is not None else ""
        name = text.upper().replace("\\X", "0X")
        if node is not None and (name in NAMES or re.fullmatch("0X[0-9A-F]{2}", name)):
            shown_as = name.replace("0X", "0x")
            self.problem(
                node, f"this is the text {text}, letter by letter; for the control character write <{shown_as}>"
            )
        return self.octets(node)

    def characters(self, node: Node | None) -> str:
        return self.octets(node).decode("latin-1")

    def number(self, node: Node | None, low: int, high: int) -> int:
        if node is None:
            return 0
        text = self.word(node)
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            self.problem(node, f"expected a whole number from {low} to {high}")
            return low
        return int(text)

    def duration(self, node: Node) -> float:
        match = DURATION.fullmatch(self.word(node))
        if match is None or not 0 < float(match[1]) * SECONDS[match[2]] <= 3600:
            self.problem(node, "expected a time of up to an hour, as 500ms, 2s or 5m")
            return 1.0
        return float(match[1]) * SECONDS[match[2]]

    def pattern(self, node: Node) -> re.Pattern[str]:
        try:
            return re.compile(self.word(node))
        except (re.error, OverflowError) as error:
            self.problem(node, f"not a regular expression of Python: {error}")
            return re.compile("(?!)")

    def flag(self, node: Node | None) -> bool:
        if node is not None and node.value != "true":
            self.problem(node, "expected true; leave it out where it does not hold")
        return node is not None

    def choice(self, node: Node | None, known: tuple[C, ...], default: C | None = None) -> C:
        """``default``: the first of ``known``, where it is no other."""
        if node is None:
            return known[0] if default is None else default
        chosen = next((one for one in known if node.kind == "scalar" and node.value == one), None)
        if chosen is None:
            self.problem(node, f"expected {', '.join(known[:-1])} or {known[-1]}{hint(node.value, known)}")
        return chosen or known[0]

    def needed(self, block: dict[str, Node], node: Node, key: str, what: str) -> Node | None:
        """The value of a key that must be in ``block``, which is that of ``node``."""
        if key not in block:
            self.missing(node, key, what)
        return block.get(key)

    def missing(self, node: Node, key: str, what: str) -> None:
        self.problem(node, f"{key} is missing; add {key}: {what}")

    def problem(self, node: Node, text: str) -> None:
        self._problems.append((node.line, node.column, node.problem(text)))


def hint(word: str, known: Iterable[str]) -> str:
    near = get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
