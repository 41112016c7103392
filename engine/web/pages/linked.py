"""Fields of a message and elements of its documents as rows that lead to each other, with the rule between them.

All of it is the explanation that the mapping engine gives (`engine.views.as_sent`): nothing here knows a mapping.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from engine.mapping.explanations.differences import differences
from engine.mapping.explanations.explain_text import chosen, missing, reason
from engine.mapping.explanations.explaining import RULE, Leaf
from engine.model.errors import ContentError
from engine.model.message import Parsed
from engine.views.as_sent import Explained
from engine.views.document_lines import Line, lines_of, pointer_of
from engine.views.message_tree import MessageTree, Place, counts_of, shown, source_of
from engine.views.text import printable

MOST_FIELDS = 2000
MOST_LINES = 4000  # of a document
MOST_MADE = 4  # elements that are named beside a field
MOST_CHANGES = 200
LONGEST = 4096  # signs of one value
_SLUG = re.compile(r"[^A-Za-z0-9]+")
_NUMBER = re.compile(r"\[\d+\]")


class LinkedTrace:
    """One message and what the mapping makes of it today.

    Args:
        parsed: None: it cannot be read.
        documents: place -> number of the stored document there.
        at: a field or an element that is to be marked, with all that belongs to it; empty: none.
    """

    def __init__(self, parsed: Parsed | None, made: Sequence[Explained], documents: Mapping[int, int], at: str) -> None:
        self._parsed = parsed
        self._made = {documents[one.place]: one for one in made if one.place in documents}
        self._at = at
        self._leaves = [leaf for one in made for leaf in one.trace.leaves]
        self._of_leaf = {
            leaf: f"#{_anchor(number, leaf_pointer(leaf, one))}"
            for number, one in self._made.items()
            for leaf in one.trace.leaves
        }
        self._marked = set(chosen(self._leaves, at)) if at else set[Leaf]()
        self._counts = counts_of(parsed) if parsed is not None else {}
        self._places: Mapping[str, str] = {}
        self._why = [
            missing(one.trace, parsed, at)
            for one in made
            if parsed is not None and at and not chosen(one.trace.leaves, at)
        ]
        self._errors = [one.trace.error for one in made if one.trace.error is not None]

    def of_message(self, text: str) -> dict[str, Any]:
        """The fields, the lines of the text in pieces, and a sentence where nothing is as it was asked for."""
        if self._parsed is None:
            lines = [[(printable(line), None)] for line in text.split("\n")]
            return {"fields": [], "more_fields": False, "lines": lines, "nothing": "", "stopped": []}
        tree = MessageTree.of(self._parsed, self._leaves, most=MOST_FIELDS)
        self._places = tree.anchors
        fields = [self._field(place) for place in tree.places]
        by_anchor = {one["anchor"]: one for one in fields}
        return {
            "fields": fields,
            "more_fields": tree.more,
            "lines": [
                [(printable(piece.text), by_anchor[piece.place.anchor] if piece.place else None) for piece in line]
                for line in tree.pieces(text)
            ],
            "nothing": "" if self._marked or any(one["marked"] for one in fields) else "; ".join(self._why),
            "stopped": [_stopped(error) for error in self._errors],
        }

    def of_document(self, number: int, media_type: str, body: bytes) -> dict[str, Any]:
        """A stored document in lines; each that the mapping makes today, too, with its fields and its rule."""
        one = self._made.get(number)
        today = one.document if one is not None else None
        leaves = {leaf_pointer(leaf, one): leaf for leaf in one.trace.leaves} if one is not None else {}
        parts = (
            [(leaf.path, leaf.value) for leaf in leaves.values()] if today is not None and today.body == body else []
        )
        lines, more = _lines(body, media_type, parts)
        same = lines
        if today is not None and today.body != body:
            same, _ = _lines(today.body, media_type, [])
        alike = {(line.pointer, _bare(line)) for line in same if line.pointer}
        changes = differences(body, today.body) if today is not None else []
        return {
            "number": number,
            "kind": media_type,
            "rows": [
                self._line(number, line, leaves.get(line.pointer) if (line.pointer, _bare(line)) in alike else None)
                for line in lines
            ],
            "more": more,
            "explained": today is not None,
            "changes": [
                {"path": _short(change.path), "before": _short(change.before), "after": _short(change.after)}
                for change in changes[:MOST_CHANGES]
            ],
            "more_changes": len(changes) > MOST_CHANGES,
        }

    def _field(self, place: Place) -> dict[str, Any]:
        # Those of a rule first, and those that are made of the fewest fields.
        made = sorted(place.leaves, key=lambda leaf: (leaf.origin != RULE, len(leaf.sources)))
        rules = list(dict.fromkeys(leaf.rule for leaf in made if leaf.rule))
        return {
            "place": printable(place.shown),
            "meaning": place.meaning,
            "value": _short(place.value),
            "level": place.level,
            "anchor": place.anchor,
            "marked": not self._marked.isdisjoint(place.leaves) or self._is_asked(place),
            "made": [
                (printable(leaf.path), self._of_leaf.get(leaf, ""), printable(reason(leaf)))
                for leaf in made[:MOST_MADE]
            ],
            "more": max(len(made) - MOST_MADE, 0),
            "title": " · ".join(filter(None, (printable(place.shown), place.meaning, *rules[:MOST_MADE]))),
        }

    def _is_asked(self, place: Place) -> bool:
        return bool(self._at) and self._at in (place.name, place.shown, _NUMBER.sub("", place.name))

    def _line(self, number: int, line: Line, leaf: Leaf | None) -> dict[str, Any]:
        sources = [name for name in map(source_of, leaf.sources) if name] if leaf is not None else []
        return {
            "text": "  " * line.depth + _short(line.text),
            "anchor": _anchor(number, line.pointer) if line.pointer else "",
            "marked": leaf is not None and leaf in self._marked,
            "sources": [
                (printable(shown(name, self._counts)), f"#{self._places[name]}" if name in self._places else "")
                for name in dict.fromkeys(sources)
            ],
            "rule": leaf.rule if leaf is not None else "",
            "why": printable(f"{leaf.path}: {reason(leaf)}") if leaf is not None else "",
        }


def leaf_pointer(leaf: Leaf, one: Explained) -> str:
    """The place of a value in its document, as `Line.pointer` has it."""
    in_json = one.document is not None and "json" in one.document.media_type
    return leaf.pointer or (pointer_of(leaf.path) if in_json else leaf.path)


def _lines(body: bytes, media_type: str, parts: Sequence[tuple[str, str]]) -> tuple[list[Line], bool]:
    try:
        lines, more = lines_of(body, media_type, parts)
    except (ValueError, RecursionError):  # no JSON after all, or objects in each other, too deep
        lines, more = lines_of(body, "text/plain", parts)
    return lines[:MOST_LINES], more or len(lines) > MOST_LINES


def _bare(line: Line) -> str:
    return line.text.removesuffix(",")


def _anchor(number: int, pointer: str) -> str:
    return f"e-{number}{_SLUG.sub('-', pointer)}"


def _short(text: str) -> str:
    text = printable(text)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _stopped(error: ContentError) -> tuple[str, str]:
    place = f"{error.place}: " if error.place else ""
    return error.reason.value, printable(f"{place}{error.detail}")
