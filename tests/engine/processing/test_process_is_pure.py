"""`process` is pure: the outcome of a message rests on the message and the configuration, and on no earlier message.

Each message is processed alone, with nothing kept of any other, and among others; all that is said of it must be equal.
Real messages of one analyzer have the same form, so they are also given other values, units, ranges, flags and times.
"""

import random
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest

from engine.config import registry
from engine.mapping.conditions import compile_condition
from engine.mapping.message import read_cache
from engine.mapping.message.read_cache import ReadCaches
from engine.mapping.trying.inputs import messages_in
from engine.model.message import FormatOptions, MapContext, Mapped, Stored
from engine.model.routes import ChannelRoutes, Route, context_of
from engine.processing.process import process
from tests.support.corpus import corpus_files
from tests.support.examples import examples
from tests.support.packs import channel_of, payloads_of
from tests.support.samples import sample_files
from tests.support.shipped import KEY, RECEIVED, ROUTES, Recorder, program

KEEPERS = (
    "engine.mapping",
    "engine.model",
    "engine.processing",
    "engine.features",
    "adapters.codecs",
    "adapters.dialects",
)
LARGEST = 20_000  # bytes of a message: one is processed dozens of times
NO_PACK = {"abdm-report", "gst-invoice", "mindray-bs-astm", "order-dialogues", "payment-notice"}  # folders of samples
PACKS = sorted({file.folder for file in sample_files("hl7v2", "astm", "text")} - NO_PACK)
SHORT = ("biomerieux-minividas", "mindray-bs200")  # ASTM, HL7 v2: in the fast set
EXPLAINED = 8  # of so many messages one is explained as well: that takes four times as long

# What an analyzer may say of a result, by the place of the field in OBX and in R. The value and the time differ from
# result to result of one test, the others do not.
VALUE, UNIT, RANGE, FLAG, STATUS, TIME, TYPE = (5, 3), (6, 4), (7, 5), (8, 6), (11, 8), (14, 12), (2, 0)
FORMS: dict[tuple[int, int], tuple[float, tuple[str, ...]]] = {
    VALUE: (0.8, ("", "1000000", "5.5", "0,5", "<5", "POS", "----", "5^6", "DETECTED^1250", "NO RESULT", "^1^:^128")),
    UNIT: (0.4, ("", "42", "mmHg", "%", "zz")),
    RANGE: (0.3, ("", "35^45", "35-45", "1-2 zz", "5-1", "<3", "negative")),
    FLAG: (0.15, ("", "N", "H", "?!", "HH~L")),
    STATUS: (0.02, ("F", "P", "X", "Z", "")),
    TIME: (0.15, ("", "20260301101530", "2026030110153", "20260301101²30", "20260230", "20260301101530+0530")),
    TYPE: (0.3, ("NM", "ST", "SN", "CE", "")),
}
VARYING = (VALUE, TIME)
OF_ONE_FORM = 6  # messages that differ in nothing but that


@dataclass(frozen=True)
class Said:
    """All that is said of one message."""

    outcome: object
    mapped: tuple[Mapped | None, ...]
    explained: object = None


@cache
def bounded_caches() -> tuple[Any, ...]:
    """The caches of functions that are filled by messages; those without a limit hold tables of the program."""
    return tuple(
        value
        for name, module in list(sys.modules.items())
        if name.startswith(KEEPERS)
        for value in vars(module).values()
        if hasattr(value, "cache_parameters") and value.cache_parameters()["maxsize"] is not None
    )


def new(channel: ChannelRoutes) -> ChannelRoutes:
    """The same channel in a program that has processed no message."""
    for one in bounded_caches():
        one.cache_clear()
    routes = tuple(
        route if route.program is None else replace(route, program=Recorder(_without_memory(route.program)))
        for route in channel.routes
    )
    return replace(channel, routes=routes)


def _without_memory(mapping: Any) -> Any:
    return replace(mapping, _readings=ReadCaches())


def said_of(payload: bytes, channel: ChannelRoutes, *, explained: bool = False) -> Said:
    stored = Stored(
        id=1, channel=channel.channel, seq=1, payload=payload, received_us=int(RECEIVED.timestamp() * 1_000_000)
    )
    recorders: list[Recorder] = [route.program for route in channel.routes if isinstance(route.program, Recorder)]
    for one in recorders:
        one.mapped = None
    outcome = process(stored, channel)
    places = {id(route): at for at, route in enumerate(channel.routes)}
    outcome = replace(outcome, documents=tuple((one, places[id(route)]) for one, route in outcome.documents))  # type: ignore[misc]
    mapped = tuple(one.mapped for one in recorders)
    return Said(outcome, mapped, [*_explained(stored, channel, recorders)] if explained and any(mapped) else None)


def _explained(stored: Stored, channel: ChannelRoutes, recorders: Sequence[Recorder]) -> Iterator[object]:
    parsed = channel.message_format.parse(stored.payload, channel.options)
    for one in recorders:
        if one.mapped is not None:
            trace = one.program.explain(parsed, context_of(stored, channel.context))
            yield trace.mapped, trace.leaves, sorted(trace.rules), trace.unread


def in_other_forms(payloads: Sequence[bytes], rng: random.Random, number: int) -> Iterator[bytes]:
    """Messages with other things said of their results, a few times ``number`` of them."""
    for _ in range(number):
        form = _in_another_form(rng.choice(payloads), rng, FORMS)
        yield from (_in_another_form(form, rng, VARYING) for _ in range(OF_ONE_FORM))


def _in_another_form(payload: bytes, rng: random.Random, changed: Iterable[tuple[int, int]]) -> bytes:
    lines = re.split("\r\n?|\n", payload.decode("latin-1"))
    for at, line in enumerate(lines):
        fields = line.split("|")
        if fields[0] not in ("OBX", "R"):
            continue
        fields += [""] * (15 - len(fields))
        for field in changed:
            number = field[fields[0] == "R"]
            likely, forms = FORMS[field]
            if number and rng.random() < likely:
                fields[number] = rng.choice(forms).encode().decode("latin-1")
        lines[at] = "|".join(fields)
    return "\r".join(lines).encode("latin-1")


def assert_alone_as_among_others(channel: ChannelRoutes, payloads: Sequence[bytes]) -> None:
    """``payloads``: in an order in which they come."""
    channel_of_all = new(channel)
    among = [said_of(one, channel_of_all, explained=at % EXPLAINED == 0) for at, one in enumerate(payloads)]
    alone: dict[tuple[bytes, bool], Said] = {}
    for at, payload in enumerate(payloads):
        key = payload, at % EXPLAINED == 0
        if key not in alone:
            alone[key] = said_of(payload, new(channel), explained=key[1])
        assert among[at] == alone[key], f"message {at}"


@cache
def plain_channel(message_format: str) -> ChannelRoutes:
    """A channel without a pack: its routes are those of results."""
    return ChannelRoutes(
        channel="analyzer",
        message_format=registry.load(registry.FORMATS, message_format),
        media_type="",
        options=FormatOptions(),
        routes=tuple(
            Route(when=compile_condition(when, message_format, place="the route of results"), program=program(name))
            for when, name in ROUTES[message_format]
        ),
        context=MapContext(
            channel="analyzer",
            key=KEY,
            timezone="Asia/Kolkata",
            settings={"local_system": "urn:labrelay:codes:analyzer", "processing_ids": ["T", "D"]},
            patient_numbers="lasting",
        ),
    )


def messages_of(files: Sequence[Any], message_format: str) -> list[bytes]:
    found = [
        one.payload
        for file in files
        if file.format == message_format
        for one in messages_in(file.path.read_bytes())
        if one.format == message_format
    ]
    return [one for one in dict.fromkeys(found) if len(one) <= LARGEST]


FILES: dict[str, Callable[[], Sequence[Any]]] = {"samples": sample_files, "corpus": corpus_files}
of_all = pytest.mark.parametrize("files", ["samples", pytest.param("corpus", marks=pytest.mark.corpus)])
of_each_format = pytest.mark.parametrize("message_format", list(ROUTES))


@pytest.mark.parametrize(
    "pack", [pytest.param(pack, marks=[pytest.mark.promise("P4")] if pack in SHORT else []) for pack in PACKS]
)
def test_a_message_gives_alone_what_it_gives_among_others_of_its_analyzer(pack: str) -> None:
    built = channel_of(pack)
    rng = random.Random(pack)
    files = [file for file in sample_files("hl7v2", "astm", "text") if file.folder == pack]
    sent = [payload for file in files for payload in payloads_of(built, file.path.read_bytes())]
    sent += in_other_forms(sent, rng, examples(16, least=3))
    sent *= 2
    rng.shuffle(sent)
    assert_alone_as_among_others(built.routes, sent)


@of_all
@of_each_format
def test_a_message_gives_alone_what_it_gives_in_any_order(
    files: str, message_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = messages_of(FILES[files](), message_format)
    rng = random.Random(message_format)
    for room in (read_cache.RESULTS_KEPT, 30):
        # With little room values are forgotten between messages and inside of one.
        monkeypatch.setattr(read_cache.Room.__init__, "__defaults__", (room,))
        monkeypatch.setattr(read_cache.Room.empty, "__defaults__", (room,))
        mixed = [*sent, *in_other_forms(sent, rng, len(sent) // OF_ONE_FORM)]
        rng.shuffle(mixed)
        assert_alone_as_among_others(plain_channel(message_format), mixed)


@of_all
@of_each_format
def test_a_message_gives_alone_what_it_gives_behind_another(files: str, message_format: str) -> None:
    sent = messages_of(FILES[files](), message_format)
    rng = random.Random(message_format)
    channel = plain_channel(message_format)
    for payload in sent:
        others = rng.sample(sent, min(examples(8), len(sent)))
        *similar, last = in_other_forms([payload], rng, 1)
        for one, before in ((payload, others), (last, similar)):
            alone = said_of(one, new(channel))
            for other in before:
                used = new(channel)
                said_of(other, used)
                assert said_of(one, used) == alone


HEAD = "H|\\^&|||GEM3500\rP|1||7\rO|1|S1\r"


def astm(*results: str) -> bytes:
    return "\r".join([HEAD.rstrip("\r"), *results, "L|1|N", ""]).encode()


def hl7(time: str) -> bytes:
    head = "MSH|^~\\&|XN|LAB|LIS|HOSP|20260301101530||ORU^R01|M1|P|2.5\rPID|1||4711^^^HOSP^MR\rOBR|1|O1||CBC\r"
    return f"{head}OBX|1|NM|HGB||14.8|g/dL|||||F|||{time}\r".encode()


@pytest.mark.parametrize(
    ("message_format", "before", "payload"),
    [
        # The value asks for the row of the unit, and the range does; where there is no value, the range alone does.
        pytest.param(
            "astm",
            astm("R|1|^^^pCO2|1000000|42|mmHg|35^45|N||F"),
            astm("R|1|^^^pCO2||42|mmHg|35^45|N||F"),
            id="a value in the place of the unit",
        ),
        pytest.param("hl7v2", hl7("20260301094500"), hl7("20260301094²00"), id="a sign that is a digit of no time"),
    ],
)
def test_a_message_behind_another_says_all_that_it_says_alone(
    message_format: str, before: bytes, payload: bytes
) -> None:
    used = new(plain_channel(message_format))
    said_of(before, used)
    assert said_of(payload, used) == said_of(payload, new(plain_channel(message_format)))


def test_a_unit_without_a_row_is_told_behind_a_message_whose_value_asked_for_it() -> None:
    used = new(plain_channel("astm"))
    said_of(astm("R|1|^^^pCO2|1000000|42|mmHg|35^45|N||F"), used)
    (mapped,) = said_of(astm("R|1|^^^pCO2||42|mmHg|35^45|N||F"), used).mapped
    assert mapped is not None
    assert [(one.table, one.code, one.unit) for one in mapped.unmapped] == [
        ("analytes", "pCO2", "42"),
        ("ucum", "42", ""),
    ]
