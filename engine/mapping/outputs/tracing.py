"""The source of every value of a segment, row or record: the trace of mappings that write no FHIR.

    OBX[3].5 <- lab.yaml:31 <- R[3]-4       segments of a name and rows from 1, fields and components by number
    row[4].code <- ...                      repetitions from 1
    results[2].value <- ...                 members and items of lists as in the JSON, from 0

Values are taken from the finished output, so values that LabRelay adds (set IDs, MSH-7, MSH-10) are included. The note
of a rule is found by the value's place; where a rule gives several repetitions or items, also by its text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
from orjson import Fragment

from engine.mapping.explanations.explaining import ENVELOPE, LITERAL, RULE, Leaf
from engine.mapping.explanations.trace import Tracer
from engine.mapping.outputs.collected import MessageParts, Part
from engine.mapping.values.json_text import as_text
from engine.model.message import MapContext, Parsed

_ITEMS = re.compile(r"\[\d+\]")
_OWN = {"MSH": "LabRelay makes the header", "": "a set ID: the place among its like"}


@dataclass(frozen=True, slots=True)
class _Note:
    """A rule's note for a place; ``path`` has no numbers of items."""

    path: str
    origin: str
    rule: str
    function: str = ""
    sources: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    texts: frozenset[str] = frozenset()


class PartTracer(Tracer):
    """Collects the trace of one message; generated code calls it as ``T``."""

    def __init__(self, parsed: Parsed, context: MapContext, mapping: str) -> None:
        super().__init__(parsed, context, mapping)
        self._notes: list[_Note] = []
        self._by_part: dict[str, list[_Note]] = {}

    # -- called by generated code ------------------------------------------------------------------------------------

    def begin_part(self) -> None:
        """A part begins. Frames that a dropped result left open are closed."""
        self.forget()
        self._notes = []

    def place(self, path: str, rule: str, function: str, value: Any) -> None:
        """The value of an expression is computed."""
        made = self.made_of(self.close())
        self.rules.add(rule)
        if value is not None:
            texts = frozenset(text for _, _, text in _leaves(value))
            self._notes.append(_Note(path, RULE, rule, function, tuple(made.sources), tuple(made.rows), texts))

    def literal(self, path: str, rule: str, text: str) -> None:
        """A value is written in the mapping."""
        self.rules.add(rule)
        self._notes.append(_Note(path, LITERAL, rule, texts=frozenset({text})))

    def part(self, part: Part | None) -> None:
        """The part that was begun last is made, or left out."""
        if part is not None:
            self._by_part.setdefault(part.key, []).extend(self._notes)

    # -- the result --------------------------------------------------------------------------------------------------

    def _explained(self) -> list[Leaf]:
        making = self.making
        if not isinstance(making, MessageParts):
            return []
        found: list[Leaf] = []
        if making.header:
            found += self._of("MSH[1]", making.header, [part.key for part in making.parts if part.name == "MSH"], "MSH")
        numbers: dict[str, int] = {}
        for part in making.parts:
            if part.name == "MSH":
                continue
            numbers[part.name] = number = numbers.get(part.name, 0) + 1
            found += self._of(f"{part.name}[{number}]", part.content, [part.key], "")
        found += self._inside(making.document, "", "")
        return [self._with_places(leaf) for leaf in found] if self._parsed.places else found

    def _inside(self, part: Part, name: str, pointer: str) -> Iterator[Leaf]:
        """A record, and those inside; ``pointer`` is its JSON pointer."""
        yield from self._of(name, part.content, [part.key], "", pointer)
        for member, records in part.inner.items():
            there = (record for record in records if record.there)
            for at, record in enumerate(there):
                inside = f"{name}.{member}[{at}]" if name else f"{member}[{at}]"
                yield from self._inside(record, inside, f"{pointer}/{_escaped(member)}/{at}")

    def _of(
        self, name: str, content: dict[Any, Any], keys: list[str], own: str, pointer: str | None = None
    ) -> Iterator[Leaf]:
        notes = [note for key in keys for note in self._by_part.get(key, ())]
        first = 1 if all(isinstance(name, int) for name in content) else 0
        for path, inner, text in _leaves(content, first=first):
            there = "" if pointer is None else pointer + inner
            note = _note_for(_without_items(path), text, notes)
            where = (name + path).removeprefix(".")
            if note is None:
                yield Leaf(where, there, text, ENVELOPE, "", "", about=_OWN[own])
            else:
                yield Leaf(where, there, text, note.origin, note.rule, note.function, note.sources, note.rows)


def _note_for(path: str, text: str, notes: list[_Note]) -> _Note | None:
    """The note of the rule that gave a value: at its place or around it, of several the one with this value."""
    near = [note for note in notes if path == note.path or path.startswith(note.path + ".")]
    if len(near) < 2:
        return near[0] if near else None
    deepest = max(len(note.path) for note in near)
    near = [note for note in near if len(note.path) == deepest]
    return next((note for note in near if text in note.texts), near[0])


def _leaves(value: Any, path: str = "", pointer: str = "", first: int = 0) -> Iterator[tuple[str, str, str]]:
    """The texts in a value, with their places below it: ``.3.1``, ``.8[2]``, and as JSON pointers.

    Args:
        first: number of the first item of a list; 1 for the repetitions of fields; a single repetition has no number.
    """
    if isinstance(value, Fragment):
        value = as_text(orjson.dumps(value))
    if isinstance(value, dict):
        numbered = all(isinstance(name, int) for name in value)  # fields of HL7: in their order, not the rules'
        for name in sorted(value) if numbered else value:
            yield from _leaves(value[name], f"{path}.{name}", f"{pointer}/{_escaped(str(name))}", first)
    elif isinstance(value, list | tuple):
        for at, inner in enumerate(value):
            where = path if first and len(value) == 1 else f"{path}[{at + first}]"
            yield from _leaves(inner, where, f"{pointer}/{at}", first)
    else:
        yield path, pointer, "true" if value is True else "false" if value is False else str(value)


def _escaped(name: str) -> str:
    """A member's name in a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def _without_items(path: str) -> str:
    return _ITEMS.sub("", path) if "[" in path else path
