"""Find the codes of an export that belong to an analyzer, not to a patient: several patients' messages have them. Pure.

Senders write names into fields for codes: of a test, an instrument, a facility. A value there in one patient's messages
only may be that patient's name. A part of any patient's name in the export is never taken for a code.
"""

import re
from dataclasses import dataclass, field

from engine.diagnostics.deidentified import CODE, OF_ANALYZER, Delimiters, cut_up, patient_of

MOST = 200_000  # different texts that are remembered; those beyond it are in no other message, as far as is known
_NAMES = {"PID": (5, 6, 9), "NK1": (2,), "MRG": (7,), "P": (5, 6)}
_SEGMENT = re.compile(r"[A-Z][A-Z0-9]{0,2}")
_WORD = re.compile(r"[^\W\d_]{2,}")


@dataclass(slots=True)
class Survey:
    """Looks at every message of an export once, before it is made."""

    _first: dict[str, str] = field(default_factory=dict, repr=False)  # text -> the patient that it came with first
    _several: set[str] = field(default_factory=set, repr=False)
    _names: set[str] = field(default_factory=set, repr=False)

    def look(self, payload: bytes) -> None:
        """Raises UnknownFormatError: neither HL7 v2 nor E1394."""
        lines, cut = cut_up(payload)
        patient = patient_of(lines, cut)
        for line in lines[::2]:
            fields = line.split(cut.field)
            name = fields[0].strip()
            for at in _NAMES.get(name, ()):
                if at < len(fields):
                    self._names.update(word.casefold() for word in _WORD.findall(fields[at]))
            if patient:
                for text in _codes(name, fields, cut):
                    self._came(text, patient)

    @property
    def shared(self) -> frozenset[str]:
        """Values in fields for codes that several patients' messages have, and that are no name."""
        return frozenset(text for text in self._several if not self._is_name(text))

    def _came(self, text: str, patient: str) -> None:
        first = self._first.get(text)
        if first is None and len(self._first) < MOST:
            self._first[text] = patient
        elif first is not None and first != patient:
            self._several.add(text)

    def _is_name(self, text: str) -> bool:
        return any(word.casefold() in self._names for word in _WORD.findall(text))


def _codes(name: str, fields: list[str], cut: Delimiters) -> list[str]:
    """The texts of a line in fields for codes; the name of an unknown segment is one."""
    places = cut.places.get(name)
    if places is None:
        return [name] if len(fields) > 1 and _SEGMENT.fullmatch(name) else []
    header = name in ("MSH", "FHS", "BHS", "H")
    found = []
    for at in range(1, len(fields)):
        number = at + 1 if header or not cut.is_hl7 else at
        if places.get(number) in OF_ANALYZER:
            found += [part.strip() for part in re.split(cut.inner, fields[at]) if CODE.fullmatch(part.strip())]
            found += [fields[at].strip()] if places.get(number) == "unit" else []
    return found
