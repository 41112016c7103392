"""Values of every shape for the fields of HL7 v2 segments, made from the data types of version 2.5.1.

A sign is made of the place where it stands, so that a document that holds it holds this very part. Parts have the names
that the standard gives them: ``PID-3.4`` is a component, ``PID-3.4.2`` a subcomponent, ``PID-3~`` a second repetition;
and the name within their data type: ``CX.4``, ``CX.4.2``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from engine.config import registry
from engine.mapping.language.structures import field_counts
from tests.support.census import NEITHER, REACHED, Census, Fate, Plant

_CODEC = registry.load(registry.WRITERS, "hl7v2")
_CODED = ("CE", "CWE", "CNE")
_TIMES = ("TS", "DTM", "DT")
_TEXTS = ("ST", "TX", "FT")
_CWE_PARTS = 9  # those that a field of 2.5.1 has
# Parts for which any text would be no legal value: as it is sent, and how a document shows it; None: not at all.
_LEGAL: dict[str, tuple[str, str | None]] = {
    "CX.5": ("MR", "MR"),
    "XPN.7": ("L", "official"),
    "XAD.7": ("H", "home"),
    "XTN.1": ("", None),
    "XTN.2": ("PRN", "home"),
    "XTN.3": ("PH", "phone"),
    "XTN.4": ("q@example.org", "q@example.org"),
    "XTN.5": ("91", "+91"),
    "XTN.6": ("20", " 20 "),
    "XTN.7": ("5551234", "5551234"),
    "XTN.8": ("77", "X77"),
    "XTN.12": ("", None),
    "HD.2": ("2.16.840.1.113883.19.4", "urn:oid:2.16.840.1.113883.19.4"),
    "HD.3": ("ISO", None),
    "EI.3": ("2.16.840.1.113883.19.5", "urn:oid:2.16.840.1.113883.19.5"),
    "EI.4": ("ISO", None),
    "CWE.3": ("SCT", "http://snomed.info/sct"),
    "CWE.6": ("I10", "http://hl7.org/fhir/sid/icd-10"),
    "XCN.10": ("L", "official"),
    "SN.1": (">", ">"),
    "SN.3": (":", ":"),
}


@dataclass(frozen=True)
class Part:
    """A part of a value: ``name`` and ``kind`` as above; ``signs``: texts by which a document shows it."""

    name: str
    kind: str
    signs: tuple[str, ...]


@dataclass
class Maker:
    """Makes values of data types, each with signs of its own."""

    count: int = field(default=0)

    def value(self, data_type: str, name: str) -> tuple[str, list[Part]]:
        """A value with all of its parts."""
        return self._made(data_type, name, data_type, "^")

    def _made(self, data_type: str, name: str, kind: str, mark: str) -> tuple[str, list[Part]]:
        components = () if data_type in _TIMES or not mark else parts_of(data_type)
        if not components:
            text, sign = self._simple(data_type, name, kind)
            return text, [Part(name, kind, (sign,))] if sign is not None else []
        texts, parts = [], []
        for at, one in enumerate(components, 1):
            text, found = self._made(one, f"{name}.{at}", f"{kind}.{at}", "&" if mark == "^" else "")
            texts.append(text)
            parts += found
        return mark.join(texts), parts

    def _simple(self, data_type: str, name: str, kind: str) -> tuple[str, str | None]:
        self.count += 1
        for known, legal in _LEGAL.items():
            # An HD within a CX is CX.4: its parts are legal by its own type.
            if kind == known or (kind.count(".") > 1 and known == _inner(kind)):
                return legal
        if data_type in _TIMES:
            year, month, day = 1900 + self.count % 97, 1 + self.count % 12, 1 + self.count % 28
            return f"{year}{month:02}{day:02}{'' if data_type == 'DT' else '081500'}", f"{year}-{month:02}-{day:02}"
        if data_type in ("NM", "SI"):
            return f"{7000 + self.count}.5", f"{7000 + self.count}.5"
        sign = "Q" + "".join(sign if sign.isalnum() else "x" for sign in name) + "z"
        return sign, sign


def _inner(kind: str) -> str:
    """CX.4.2 -> HD.2."""
    outer, at, inner = kind.rsplit(".", 2)
    types = parts_of(outer) if outer.isalpha() else ()
    return f"{_same(types[int(at) - 1])}.{inner}" if len(types) >= int(at) else kind


def _same(data_type: str) -> str:
    return "CWE" if data_type in _CODED else data_type


def type_of(segment: str, number: int) -> str:
    """The data type of a field, CWE for all coded ones; ST where it is open (OBX-5)."""
    found = str(_CODEC.place_type(segment, (number,)))
    return "ST" if found in ("*", "-", "") else _same(found)


def parts_of(data_type: str) -> tuple[str, ...]:
    """The types of the components (or subcomponents) of a data type; none of a primitive one."""
    found: tuple[str, ...] = tuple(_CODEC.component_types(_same(data_type)))
    return found[:_CWE_PARTS] if data_type in _CODED else found


@dataclass(frozen=True)
class Probe:
    """A value for a field, and the parts that are to be looked for."""

    plant: Plant
    parts: tuple[Part, ...]


def probes(segment: str, of_base: Mapping[int, str], legal: Mapping[str, tuple[str, str]]) -> Iterator[Probe]:
    """Values of every shape for every field of a segment.

    Args:
        of_base: the fields as they stand in the message.
        legal: field (``OBX-11``) -> a code of its table, and the text by which a document shows it.
    """
    for number in range(1, field_counts()[segment] + 1):
        place, kind = f"{segment}-{number}", type_of(segment, number)
        maker = Maker()
        usual, shown = legal.get(place, (of_base.get(number, ""), ""))
        if shown:
            yield _probe(segment, number, "a code of its table", usual, [Part(place, kind, (shown,))])
        text, parts = maker.value(kind, place)
        if len(parts) != 1 or not usual:
            yield _probe(segment, number, "all components", text, parts)
        one = usual or text
        if len(parts) == 1:
            yield _probe(
                segment, number, "a component more", f"{one}^Qmore", [Part(f"{place}.2", f"{kind}.2", ("Qmore",))]
            )
        second, of_second = maker.value(kind, f"{place}~")
        yield _probe(
            segment,
            number,
            "a repetition",
            f"{one}~{second}",
            [Part(f"{place}~", kind, tuple(sign for part in of_second for sign in part.signs))],
        )
        if kind in (*_TIMES, "NM", "CQ", "DR", "ID", "IS"):
            yield _probe(segment, number, "a wrong type", "Qnone", [Part(place, kind, ("Qnone",))])
        if kind in _TIMES:
            for sent, said in (
                ("2019", "2019"),
                ("201902", "2019-02"),
                ("20190203040506.7+0200", "2019-02-03T04:05:06.7"),
            ):
                yield _probe(segment, number, "legal, unusual", sent, [Part(place, kind, (said,))])
        if kind in _TEXTS:
            yield _probe(segment, number, "escaped", r"Qa\T\Qb", [Part(place, kind, ("Qa&Qb",))])
            yield _probe(segment, number, "not escaped", "Qa&Qb", [Part(place, kind, ("Qb",))])
        if kind == "CWE":
            yield _probe(segment, number, "words alone", "^Qwords", [Part(f"{place}.2", "CWE.2", ("Qwords",))])
        yield _probe(segment, number, "an explicit null", '""', [])


def _probe(segment: str, number: int, shape: str, text: str, parts: list[Part]) -> Probe:
    return Probe(Plant(segment, number, shape, text, tuple(part.signs for part in parts)), tuple(parts))


@dataclass(frozen=True)
class LeftOut:
    """What is left out on purpose, each with the reason: fields, parts of them, one shape of them (`OBR-22 legal,
    unusual`); and parts of data types."""

    places: Mapping[str, str]
    kinds: Mapping[str, str]

    def has(self, part: Part, shape: str) -> bool:
        places = (f"{part.name} {shape}", *_around(part.name))
        return any(name in self.places for name in places) or any(name in self.kinds for name in _around(part.kind))


def _around(name: str) -> Iterator[str]:
    """PID-3.4.2, PID-3.4, PID-3; of a repetition (PID-8~) the field, too."""
    yield name
    name = name.replace("~", "")
    yield name
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def lost(census: Census, found: list[Probe], left_out: LeftOut) -> list[str]:
    """What is neither in the document nor told of nor left out on purpose, a line each."""
    lines = []
    for probe in found:
        fate: Fate = census.fate(probe.plant)
        if len(probe.parts) == 1 and fate.said:
            continue  # told, be it at the segment at hand where the value was first needed
        for part, became in zip(probe.parts, fate.parts, strict=True):
            if became == NEITHER and not left_out.has(part, probe.plant.shape):
                lines.append(f"{part.name} ({part.kind}), {probe.plant.shape}: {probe.plant.text!r}")
    return lines


def reached(census: Census, found: list[Probe], left_out: LeftOut) -> set[str]:
    """Fields that are said to be left out, and are in the document."""
    seen = set()
    for probe in found:
        fate = census.fate(probe.plant)
        for part, became in zip(probe.parts, fate.parts, strict=True):
            own = part.signs and all(sign.startswith("Q") for sign in part.signs)  # others stand elsewhere, too
            if became == REACHED and own and probe.plant.place in left_out.places:
                seen.add(part.name)
    return seen
