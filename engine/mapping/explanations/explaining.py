"""Explain every value of a document: match the notes of a traced mapping with the document that it made.

    Observation[3].valueQuantity.value   <- lab.yaml:31 quantity()   <- OBX[3]-5, OBX[3]-6 x row HGB,g/dL factor 10

The document decides: each of its leaves gets an explanation, whatever wrote it. A rule's note names the element as the
rule has it (`Observation.component[1].code`: the second of the rule's list). An element that was absent, gave several
values or was joined with another resource's has another place in the document, so notes are placed first. Values that
no rule wrote (ids, the envelope) are the engine's own; their explanation names their sources. Plain data in and out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any

from engine.model.journal.document_facts import OWN_SYSTEM
from engine.model.tables import table_lines

RULE, LITERAL, IDENTITY, ENVELOPE = "rule", "literal", "identity", "envelope"
_MADE_BY_THE_ENGINE = "LabRelay"


@dataclass(frozen=True, slots=True)
class Call:
    """A place that a value passed on its way: a `let:`, an argument, the use of a fragment.

    Attributes:
        rule: ``hl7-results.yaml:88``.
        name: ``row``; of a fragment, its name.
        function: ``lookup()``; ``$use`` for a fragment; empty where a field was only read.
    """

    rule: str
    name: str
    function: str


@dataclass(frozen=True, slots=True)
class Leaf:
    """One value of the document, and its explanation.

    Attributes:
        path: ``Observation[3].valueQuantity.value``; resources of a type are numbered from 1, items of lists from 0.
            Elements around a resource are written as ``Bundle[1].entry[7].fullUrl``.
        pointer: the same in the document, as a JSON pointer (RFC 6901): ``/entry/7/resource/valueQuantity/value``.
        value: the value as text, for ``--show-values`` only: it is patient data.
        origin: ``rule`` (an expression), ``literal`` (written in the mapping), ``identity`` (ids, references to them,
            requests: made of the key), ``envelope`` (LabRelay's own).
        rule: ``lab.yaml:31``; empty where no rule is behind it.
        function: ``quantity()``, empty where a field was only read.
        sources: ``OBX[3]-5``; the fields it was made of, as ``R[3]-4 (line 14)`` in texts, and settings as
            ``setting(zone)``.
        rows: ``row HGB,g/dL factor 10``: the table rows it was made with.
        calls: the places it passed, uses of fragments first, from the outermost inwards.
        about: words that rules and fields do not give: the target of a reference, how an id is made.
    """

    path: str
    pointer: str
    value: str
    origin: str
    rule: str
    function: str
    sources: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()
    about: str = ""


@dataclass(frozen=True, slots=True)
class NotedValue:
    """A note of the traced code that a rule gave an element its value; ``path`` is the element as the rule has it."""

    path: str
    rule: str
    function: str
    literal: bool = False
    sources: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()


@dataclass(slots=True)
class Product:
    """One resource as one step made it.

    Attributes:
        rule: of the step; ``key`` what its key was made of; ``request`` the way it is sent.
        counts: (path of a list as the rule has it, number in it) -> how many values that item gave.
        elements: the resource's own elements, before those of another step were joined to it.
    """

    kind: str
    rule: str = ""
    request: str = ""
    calls: tuple[Call, ...] = ()
    key: NotedValue | None = None
    notes: list[NotedValue] = field(default_factory=list)
    counts: dict[tuple[str, int], int] = field(default_factory=dict)
    elements: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExplainContext:
    """Facts from outside of the rules.

    Attributes:
        fields: ``MSH-10`` -> ``MSH[1]-10`` for the fields of the message's header that are not empty.
        mapping: name of the mapping.
        received: the time of receipt as documents write it; empty where it is not known.
    """

    fields: Mapping[str, str]
    mapping: str = ""
    received: str = ""


Position = tuple[str | int, ...]


def explained(
    document: Mapping[str, Any],
    products: Mapping[str, Sequence[Product]],
    envelope: Sequence[str],
    around: ExplainContext,
) -> list[Leaf]:
    """Every leaf of a document with its explanation: resource by resource, then those of the Bundle itself.

    Args:
        document: a Bundle with all scalars as text (`json_text.as_text`).
        products: fullUrl -> the steps that made this resource, in their order.
        envelope: fullUrls of what steps made of the Bundle itself.
    """
    entries = document.get("entry") or []
    names = numbered(entries)
    whole = _Whole(
        products, {entry.get("fullUrl", ""): name for entry, name in zip(entries, names, strict=True)}, around
    )
    bundle = {name: value for name, value in document.items() if name != "entry"}
    own = [product for url in envelope for product in products.get(url, ())]
    found = list(whole.resource(bundle, "Bundle[1]", (), own))
    inner: list[Leaf] = []
    for at, (entry, name) in enumerate(zip(entries, names, strict=True)):
        made = products.get(entry.get("fullUrl", ""), ())
        found += whole.entry(entry, at, made)
        inner += whole.resource(entry["resource"], name, ("entry", at, "resource"), made)
    return inner + found


def numbered(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """``Observation[3]`` for each entry."""
    numbers: dict[str, int] = {}
    names = []
    for entry in entries:
        kind = entry["resource"]["resourceType"]
        numbers[kind] = numbers.get(kind, 0) + 1
        names.append(f"{kind}[{numbers[kind]}]")
    return names


@dataclass(frozen=True, slots=True)
class _Whole:
    """Facts about the whole document that the explanation of one leaf may need; ``names`` is by fullUrl."""

    products: Mapping[str, Sequence[Product]]
    names: Mapping[str, str]
    around: ExplainContext

    def resource(
        self, tree: Mapping[str, Any], name: str, position: Position, products: Sequence[Product]
    ) -> Iterator[Leaf]:
        marks = _marks(tree, products)
        for place, value in _leaves(tree, ()):
            path, pointer = name + _path(place), _pointer(position + place)
            noted = next((marks[place[:end]] for end in range(len(place), 0, -1) if place[:end] in marks), None)
            if noted is not None:
                origin, about = LITERAL if noted.literal else RULE, self.names.get(value, "")
                yield _as_noted(path, pointer, value, origin, noted, about)
            elif products and (own := _of_a_step(place, tree, products[0])) is not None:
                origin, about = own
                yield _keyed(path, pointer, value, origin, products[0], about)
            else:
                yield self._engines(path, pointer, value, place, tree["resourceType"])

    def entry(self, entry: Mapping[str, Any], at: int, products: Sequence[Product]) -> Iterator[Leaf]:
        """The leaves around a resource: its fullUrl, and the request of a transaction."""
        around = {name: value for name, value in entry.items() if name != "resource"}
        name = self.names.get(entry.get("fullUrl", ""), "")
        for place, value in _leaves(around, ()):
            path, pointer = f"Bundle[1].entry[{at}]{_path(place)}", _pointer(("entry", at, *place))
            if not products:
                yield self._engines(path, pointer, value, place, entry["resource"]["resourceType"])
            elif place[-1] == "method":
                yield _keyed(path, pointer, value, LITERAL, products[0], f"request: {products[0].request} of {name}")
            else:
                yield _keyed(path, pointer, value, IDENTITY, products[0], f"{_ENTRY.get(str(place[-1]), '')} {name}")

    def _engines(self, path: str, pointer: str, value: str, place: Position, kind: str) -> Leaf:
        """A leaf that LabRelay writes by itself."""
        where = ".".join(str(step) for step in place if isinstance(step, str))
        known = _envelope()
        about, fields = known.get(f"{kind}.{where}") or known.get(where, ("", ()))
        if value in self.names and where != "fullUrl":
            about = f"{about} {self.names[value]}".strip()
        if value == self.around.received:
            about, fields = "the time of receipt", ()
        sources = tuple(self.around.fields[name] for name in fields if name in self.around.fields)
        about = about.replace("MAPPING", self.around.mapping)
        return Leaf(path, pointer, value, ENVELOPE, "", _MADE_BY_THE_ENGINE, sources, about=about)


def _keyed(path: str, pointer: str, value: str, origin: str, product: Product, about: str) -> Leaf:
    """A leaf that follows from the step itself or from its key."""
    if origin == LITERAL or product.key is None:
        return Leaf(path, pointer, value, origin, product.rule, "", calls=product.calls, about=about)
    return _as_noted(path, pointer, value, origin, product.key, about)


def _as_noted(path: str, pointer: str, value: str, origin: str, noted: NotedValue, about: str) -> Leaf:
    return Leaf(path, pointer, value, origin, noted.rule, noted.function, noted.sources, noted.rows, noted.calls, about)


_ENTRY = {"fullUrl": "the id of", "url": "the address of", "ifNoneExist": "the search for"}


def _of_a_step(place: Position, tree: Mapping[str, Any], product: Product) -> tuple[str, str] | None:
    """Origin and words of a value in a step's resource that no rule wrote; None where it is not the step's."""
    match place:
        case ("resourceType",):
            return LITERAL, f"create: {product.kind}"
        case ("id",):
            return IDENTITY, "a keyed hash of the key, and of what keeps restarting numbers apart"
        case ("identifier", int(at), *_) if tree["identifier"][at].get("system") == OWN_SYSTEM:
            return IDENTITY, "an identifier of our own, by which a server finds it again"
    return None


@cache
def _envelope() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Values that LabRelay writes by itself: path -> words, and the header fields they are made of."""
    rows = (line.split("|") for line in table_lines(__file__, "../data/envelope.txt"))
    return {path: (words, tuple(fields.split())) for path, words, fields in rows}


@cache
def header_fields() -> list[str]:
    """The fields of message headers that LabRelay itself reads for a document."""
    return sorted({name for _, fields in _envelope().values() for name in fields})


# -- placing notes -------------------------------------------------------------------------------------------------


def _marks(tree: Mapping[str, Any], products: Sequence[Product]) -> dict[Position, NotedValue]:
    """The place of each note in the resource. A later step adds only elements that are still open (`identity`)."""
    marks: dict[Position, NotedValue] = {}
    there: dict[str, Any] = {}
    for product in products:
        shifts: dict[str, list[int]] = {}
        for name, value in product.elements.items():
            known = there.get(name)
            if known is None:
                there[name] = value
            elif isinstance(known, list) and isinstance(value, list):
                there[name] = joined = known + [one for one in value if one not in known]
                shifts[name] = [joined.index(one) for one in value]
            else:
                shifts[name] = []
        for noted in product.notes:
            for position in _positions(noted.path, tree, product, shifts):
                marks.setdefault(position, noted)
    return marks


def _positions(
    path: str, tree: Mapping[str, Any], product: Product, shifts: Mapping[str, list[int]]
) -> Iterator[Position]:
    """The places in the resource that a rule's element became; none where it was absent."""
    node: Any = tree
    position: Position = ()
    real: list[int] | None = None  # place in this step's list -> place in the joined one
    for at, (name, index, prefix, last) in enumerate(_steps(path)):
        if isinstance(node, list):  # one object, for an element that repeats
            first = _at(0, real, node)
            if first is None:
                return
            position, node, real = (*position, first), node[first], None
        if at == 0 and name not in product.elements:
            return
        if not isinstance(node, dict) or name not in node:
            return
        position, node, real = (*position, name), node[name], shifts.get(name) if at == 0 else None
        if index is None:
            if last and real is None:
                yield position
            elif last:
                yield from ((*position, place) for place in real or ())
            continue
        start = sum(product.counts.get((prefix, before), 0) for before in range(index))
        count = product.counts.get((prefix, index), 0)
        places = [place for one in range(start, start + count) if (place := _at(one, real, node)) is not None]
        if last:
            yield from ((*position, place) for place in places)
        elif not places:
            return
        else:
            position, node, real = (*position, places[0]), node[places[0]], None


def _at(index: int, real: list[int] | None, node: Any) -> int | None:
    if real is not None:
        return real[index] if index < len(real) else None
    return index if isinstance(node, list) and index < len(node) else None


@lru_cache(maxsize=4096)
def _steps(path: str) -> tuple[tuple[str, int | None, str, bool], ...]:
    """The steps of an element's path below its resource: name, number in the rule's list, path of that list, last."""
    parts = path.split(".")
    steps = []
    prefix = parts[0]
    for at, part in enumerate(parts[1:], 2):
        name, bracket, number = part.partition("[")
        prefix = f"{prefix}.{name}"
        steps.append((name, int(number[:-1]) if bracket else None, prefix, at == len(parts)))
        prefix += bracket + number
    return tuple(steps)


def _leaves(value: Any, position: Position) -> Iterator[tuple[Position, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, (*position, name))
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from _leaves(inner, (*position, at))
    else:
        yield position, str(value)


def _path(position: Position) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in position)


def _pointer(position: Position) -> str:
    return "".join(f"/{step}" for step in position)  # names of FHIR elements need no escape
