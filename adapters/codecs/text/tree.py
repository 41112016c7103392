r"""Arrange the records of a layout's rules as E1394 text. Pure.

    H                     values may come in any order: a patient's number after the specimen's is put
      P {C M}             into the P record all the same, which is written before its O
        O {C M}
          R {C M}

P and O are there when a rule fills them; R, C and M only when a rule begins them (``new: R``).
"""

from collections import Counter
from collections.abc import Callable, Iterator

from adapters.codecs.text.layout_language import Place

FIELD, REPEAT, COMPONENT, ESCAPE = "|", "\\", "^", "&"
_ESCAPES = {FIELD: "&F&", REPEAT: "&R&", COMPONENT: "&S&", ESCAPE: "&E&", "\r": "&X0D&", "\n": "&X0A&"}
_LEVELS = "POR"


class Record:
    """One record: its fields by number and component, the records below it, and values kept while it is open."""

    __slots__ = ("_values", "below", "letter", "notes", "place", "places", "remembered")

    def __init__(self, letter: str, place: str) -> None:
        self.letter = letter
        self.place = place
        self.below: list[Record] = []
        self.notes: list[Record] = []  # its C and M records
        self.places: dict[int, str] = {}
        self.remembered: dict[str, str] = {}
        self._values: dict[int, dict[int, str]] = {}

    @property
    def filled(self) -> bool:
        return bool(self._values)

    @property
    def holds_results(self) -> bool:
        return any(record.letter == "R" or record.holds_results for record in self.below)

    def set(self, field: Place, text: str, place: str) -> None:
        values = self._values.setdefault(field.field, {})
        if field.component == 0:
            values.clear()
        else:
            values.pop(0, None)
        values[field.component] = text
        self.places.setdefault(field.field, place)

    def get(self, field: Place) -> str:
        """The text of a field, its components joined; or of one component."""
        values = self._values.get(field.field, {})
        if field.component:
            return values.get(field.component, values.get(0, "") if field.component == 1 else "")
        return COMPONENT.join(values[component] for component in sorted(values))

    def line(self, number: int) -> str:
        """The record as E1394 writes it; ``number`` is its sequence number."""
        fields = [self.letter, f"{REPEAT}{COMPONENT}{ESCAPE}" if self.letter == "H" else str(number)]
        for field in range(3, max(self._values, default=2) + 1):
            values = self._values.get(field, {})
            if 0 in values:
                fields.append(_escape(values[0]))
            else:
                fields.append(
                    COMPONENT.join(_escape(values.get(at, "")) for at in range(1, max(values, default=0) + 1))
                )
        return FIELD.join(fields)


class Tree:
    """The records of one text."""

    def __init__(self, ending: Callable[[Record], None]) -> None:
        """``ending`` is called for each P, O and R record when it ends, before anything is begun after it."""
        self._header = Record("H", "")
        self._open: dict[str, Record] = {}
        self._ending = ending
        self._unread = 0

    def open(self, letter: str, place: str) -> Record:
        """Begin a record, and end those that it follows."""
        if letter in "CM":
            record = Record(letter, place)
            self._deepest().notes.append(record)
            return record
        self._end_from(letter)
        level = _LEVELS.index(letter)
        parent = self._header
        for above in _LEVELS[:level]:
            parent = self._open.get(above) or self._begin(above, place, parent)
        return self._begin(letter, place, parent)

    def current(self, letter: str, place: str) -> Record | None:
        """The open record of a type; P and O are begun where there is none, R is not."""
        if letter == "H":
            return self._header
        if letter in self._open:
            return self._open[letter]
        if letter not in "PO":
            return None
        if letter == "O" and "P" not in self._open:
            self._begin("P", place, self._header)
        return self._begin(letter, place, self._open["P"] if letter == "O" else self._header)

    def result_with(self, field: Place, text: str) -> Record | None:
        """The last R record of the open order whose field has this text."""
        order = self._open.get("O")
        for record in reversed(order.below if order is not None else []):
            if record.get(field) == text:
                return record
        return None

    def remember(self, name: str, text: str) -> bool:
        """Keep a value as long as the innermost open record lasts.

        False: a record around that one has another under this name, which would come back when that one ends: the
        time, or the patient, of the specimen before.
        """
        keeps = self._deepest()
        around = (record.remembered.get(name, text) for record in self._around() if record is not keeps)
        if any(known != text for known in around):
            return False
        keeps.remembered[name] = text
        return True

    def remembered(self) -> dict[str, str]:
        """Everything that is remembered, inner records before outer ones."""
        found: dict[str, str] = {}
        for record in self._around():
            found |= record.remembered
        return found

    def keep_unread(self, place: str, text: str) -> None:
        self._unread += 1
        record = Record("M", place)
        record.set(Place("M", 3), "unread", place)
        record.set(Place("M", 4), place, place)
        record.set(Place("M", 5), text, place)
        self._deepest().notes.append(record)

    def end(self) -> None:
        """No more records come."""
        self._end_from("P")

    def all_of(self, letter: str) -> list[Record]:
        """The records of a type, in order: those that will be written, and P and O without values that hold results."""
        if letter not in "PO":
            return [record for record, _ in self._written() if record.letter == letter]
        patients = self._header.below
        records = patients if letter == "P" else [order for patient in patients for order in patient.below]
        return [record for record in records if record.filled or record.notes or record.holds_results]

    def places(self) -> dict[str, str]:
        """Where the fields came from: ``R[3]-4``: ``line 14``. Records of a type are counted over the whole text."""
        found: dict[str, str] = {}
        counts: Counter[str] = Counter()
        for record, _ in self._written():
            counts[record.letter] += 1
            for field, place in record.places.items():
                found[f"{record.letter}[{counts[record.letter]}]-{field}"] = place
        return found

    def text(self) -> str:
        """The records as E1394 text."""
        return "\r".join([*[record.line(number) for record, number in self._written()], "L|1|N", ""])

    def _written(self) -> Iterator[tuple[Record, int]]:
        """Records in the order of E1394, each with its sequence number below its parent. P and O that nothing was put
        into are left out."""
        yield self._header, 1
        yield from _numbered(self._header.notes)
        for number, patient in enumerate(self._header.below, 1):
            if patient.filled or patient.notes:
                yield patient, number
                yield from _numbered(patient.notes)
            for at, order in enumerate(patient.below, 1):
                if order.filled or order.notes:
                    yield order, at
                    yield from _numbered(order.notes)
                for position, result in enumerate(order.below, 1):
                    yield result, position
                    yield from _numbered(result.notes)

    def _begin(self, letter: str, place: str, parent: Record) -> Record:
        record = Record(letter, place)
        parent.below.append(record)
        self._open[letter] = record
        return record

    def _around(self) -> list[Record]:
        """The open records, outer ones first."""
        return [self._header, *(self._open[letter] for letter in _LEVELS if letter in self._open)]

    def _deepest(self) -> Record:
        return self._around()[-1]

    def _end_from(self, letter: str) -> None:
        """End the open record of a type and those below it, innermost first."""
        for inner in reversed(_LEVELS[_LEVELS.index(letter) :]):
            if inner in self._open:
                self._ending(self._open[inner])
                del self._open[inner]


def _numbered(notes: list[Record]) -> Iterator[tuple[Record, int]]:
    return ((record, number) for number, record in enumerate(notes, 1))


def _escape(text: str) -> str:
    if not any(character in text for character in _ESCAPES):
        return text
    return "".join(_ESCAPES.get(character, character) for character in text)
