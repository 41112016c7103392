"""A census of fields: a value of each shape is planted into every field of a message, and its fate is looked up.

A planted value has parts (the components, the repetitions), and each part has signs: texts of which the document holds
one where the part has reached it. A part that has not reached the document must be told of: by an issue at the segment
that it was planted in, or by the death of the message. What is neither is lost without a word.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.model.message import Mapped
from engine.model.routes import Processed

Came = tuple[Processed, Mapped | None]
REACHED, TOLD, DEAD, TAKEN_OUT, NEITHER = "reached", "told", "dead", "taken out", "neither"


@dataclass(frozen=True)
class Plant:
    """One value for one field.

    Attributes:
        segment: name of the segment or record; ``ordinal`` counts those of this name, from 1.
        field: its number, as the standard counts.
        shape: what is unusual of it: ``components``, ``repetitions``, ``wrong type``.
        text: as it stands in the message.
        parts: of each part the texts by which a document shows it; none for what says nothing.
    """

    segment: str
    field: int
    shape: str
    text: str
    parts: tuple[tuple[str, ...], ...] = ()
    ordinal: int = 1

    @property
    def place(self) -> str:
        return f"{self.segment}-{self.field}"


@dataclass(frozen=True)
class Fate:
    """What became of a planted value: of each part, and what was said that is not said without it."""

    plant: Plant
    parts: tuple[str, ...]
    said: tuple[str, ...] = ()

    @property
    def lost(self) -> bool:
        return NEITHER in self.parts

    def __str__(self) -> str:
        said = f"  ({'; '.join(self.said)})" if self.said else ""
        return f"{self.plant.place:8} {self.plant.shape:14} {self.plant.text!r}: {', '.join(self.parts) or '-'}{said}"


@dataclass(frozen=True)
class Census:
    """Plants values into one message.

    Attributes:
        base: the message, a line each segment; it is mapped without an issue.
        outcome: what becomes of a message.
        also_at: segments where a value of another one may be told of (a line that holds the patient's, too).
        ignored: members of the document that are no place for a value (they quote the message itself).
    """

    base: str
    outcome: Callable[[bytes], Came]
    separator: str = "|"
    also_at: tuple[str, ...] = ()
    ignored: frozenset[str] = frozenset({"id", "fullUrl", "url", "ifNoneExist", "reference"})
    _known: dict[str, frozenset[tuple[str, str, str]]] = field(default_factory=dict)

    def message(self, plant: Plant) -> str:
        """The message with the value in its field."""
        lines, seen = self.base.splitlines(), 0
        for at, line in enumerate(lines):
            fields = line.split(self.separator)
            if fields[0] != plant.segment:
                continue
            seen += 1
            if seen == plant.ordinal:
                # E1394 counts the record type as field 1; HL7 v2 does not, and MSH-1 is the separator itself.
                number = plant.field - (1 if len(fields[0]) == 1 or fields[0] == "MSH" else 0)
                fields += [""] * (number + 1 - len(fields))
                fields[number] = plant.text
                lines[at] = self.separator.join(fields)
                return "\r".join(lines) + "\r"
        raise AssertionError(f"the message has no {plant.segment} number {plant.ordinal}")

    def fate(self, plant: Plant) -> Fate:
        """Map the message with the value in its field, and look where each part of it is."""
        verdict, mapped = self.outcome(self.message(plant).encode())
        issues = mapped.issues if mapped is not None else verdict.issues
        new = {(one.code, one.place, one.text) for one in issues} - self._issues_of_the_base()
        said = tuple(sorted(f"{code} {place} {text}" for code, place, text in new))
        segments = (plant.segment, *self.also_at)
        at = any(place.partition("[")[0].partition("-")[0] in segments for _, place, _ in new)
        if not verdict.documents:
            fate = DEAD if verdict.state == "dead" else TAKEN_OUT
            reason = verdict.reason.value if verdict.reason is not None else ""
            return Fate(plant, (fate,) * len(plant.parts), (*said, f"{reason} {verdict.detail}"))
        shown = self._shown(verdict.documents[0][0].body)
        parts = (REACHED if any(sign in shown for sign in signs) else TOLD if at else NEITHER for signs in plant.parts)
        return Fate(plant, tuple(parts), said)

    def fates(self, plants: Iterable[Plant]) -> list[Fate]:
        return [self.fate(plant) for plant in plants]

    def lost(self, plants: Iterable[Plant], on_purpose: Mapping[str, str]) -> list[str]:
        """What is neither in the document nor told of, a line each.

        Args:
            on_purpose: fields that no rule reads, as ``P-10``, or only in one shape, as ``O-3 components``, each with
                the reason.
        """
        return [
            str(fate)
            for fate in self.fates(plants)
            if fate.lost and on_purpose.keys().isdisjoint((fate.plant.place, f"{fate.plant.place} {fate.plant.shape}"))
        ]

    def read(self, plants: Iterable[Plant], on_purpose: Mapping[str, str]) -> list[str]:
        """Fields that are said to be read by no rule and of which a part reaches the document, each once."""
        fates = (fate for fate in self.fates(plants) if fate.plant.place in on_purpose)
        return sorted({fate.plant.place for fate in fates if REACHED in fate.parts})

    def _issues_of_the_base(self) -> frozenset[tuple[str, str, str]]:
        known = self._known.get("base")
        if known is None:
            verdict, mapped = self.outcome("\r".join([*self.base.splitlines(), ""]).encode())
            assert verdict.documents, f"the message itself must be mapped: {verdict.reason} {verdict.detail}"
            issues = mapped.issues if mapped is not None else verdict.issues
            known = self._known["base"] = frozenset((one.code, one.place, one.text) for one in issues)
        return known

    def _shown(self, body: bytes) -> str:
        """All values of a document, a line each; what is no JSON as it is."""
        try:
            document = json.loads(body)
        except ValueError:
            return body.decode()
        return "\n".join(self._values(document))

    def _values(self, value: Any) -> Iterable[str]:
        if isinstance(value, dict):
            for name, inner in value.items():
                if name not in self.ignored and not _quotes_the_message(inner):
                    yield from self._values(inner)
        elif isinstance(value, list):
            for inner in value:
                if not _quotes_the_message(inner):
                    yield from self._values(inner)
        else:
            yield str(value)


def _quotes_the_message(value: Any) -> bool:
    """A Provenance names the message and its hash, and holds nothing of a patient."""
    return isinstance(value, dict) and value.get("resourceType") == "Provenance"
