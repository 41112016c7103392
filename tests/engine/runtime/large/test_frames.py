"""What the two processes say to each other means the same on both sides."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from adapters.codecs.hl7v2 import message as hl7v2
from engine.model.content.quality_controls import ControlResult
from engine.model.message import (
    Bearer,
    Document,
    FormatOptions,
    Issue,
    MapContext,
    Reagent,
    Report,
    Stored,
    Unmapped,
)
from engine.model.orders import OrderedPatient, OrderLine
from engine.model.outcome import Outcome, ReadResults
from engine.model.packing import Packer, unpack
from engine.model.routes import ChannelRoutes, Processed, Route
from engine.model.texts.reasons import ReasonCode
from engine.model.worklist import Ordered, TakeSettings
from engine.runtime.large import frames
from engine.runtime.large.wire import Decoder, Frame

pack = Packer().pack
ROUTES = tuple(Route(when=None, program=None, to=(name,)) for name in ("a", "b", "c"))
TAKES = TakeSettings(known_channels={"chem": frozenset({"GLU"})})
CHANNEL = ChannelRoutes(
    channel="chem",
    message_format=hl7v2,
    media_type="x",
    options=FormatOptions(),
    routes=ROUTES,
    context=MapContext(),
    takes=TAKES,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
hashes = st.binary(min_size=16, max_size=16)
reports = st.builds(Report, hashes, st.just(b"") | hashes.filter(any), st.just(b"") | hashes.filter(any))
documents = st.builds(
    Document,
    body=st.binary(max_size=600),
    media_type=texts,
    conditional=st.lists(hashes, max_size=3).map(tuple),
    reports=st.lists(reports, max_size=3).map(tuple),
    bearers=st.lists(
        st.builds(
            Bearer,
            number=hashes,
            whole=hashes,
            record=st.binary(max_size=30),
            lasting=st.booleans(),
            person=st.integers(1, 9),
            master=st.booleans(),
        ),
        max_size=3,
    ).map(tuple),
    facts=st.binary(max_size=100),
)
issues = st.builds(Issue, code=texts, text=texts, place=texts, rule=texts, severity=texts)
unmapped = st.builds(Unmapped, texts, texts, texts, texts)
reagents = st.builds(
    Reagent, lot=texts, name=texts, expires=texts, tests=st.lists(texts, max_size=3).map(tuple), left=texts
)
patients = st.builds(OrderedPatient, number=texts, family=texts)
lines = st.builds(
    OrderLine,
    action=st.sampled_from(["new", "cancel", "unknown"]),
    placer=texts,
    specimen=texts,
    patient=patients,
    test=texts,
    priority=st.sampled_from(["stat", "routine"]),
    targets=st.lists(texts, max_size=2).map(tuple),
)
verdicts = st.builds(
    Processed,
    st.sampled_from(["mapped", "filtered", "dead"]),
    st.none() | st.sampled_from(list(ReasonCode)),
    texts,
    texts,
    st.lists(st.tuples(documents, st.sampled_from(ROUTES)), max_size=3).map(tuple),
    st.lists(issues, max_size=3).map(tuple),
    st.lists(unmapped, max_size=3).map(tuple),
    st.lists(reagents, max_size=3).map(tuple),
    st.lists(
        st.builds(ControlResult, test=texts, codes=st.lists(texts, max_size=2).map(tuple), number=texts, value=texts),
        max_size=3,
    ).map(tuple),
    critical=st.lists(st.integers(0, 9), max_size=2).map(tuple),
    read=st.none()
    | st.builds(
        ReadResults,
        st.binary(max_size=100),
        texts,
        st.booleans(),
        st.booleans(),
        numbers=st.tuples(texts),
        known=st.none(),
    ),
    ordered=st.none() | st.builds(Ordered, lines=st.lists(lines, max_size=2).map(tuple), settings=st.just(TAKES)),
)


def over_the_wire(parts: list[bytes]) -> Frame:
    (frame,) = Decoder().feed(b"".join(parts))
    return frame


@given(verdicts)
def test_a_verdict_is_the_same_on_both_sides_but_for_its_compressed_documents(verdict: Processed) -> None:
    frame = over_the_wire(frames.outcome(7, verdict, CHANNEL, pack))
    read = frames.read_outcome(frame, CHANNEL)
    whole = tuple(
        (replace(document, body=unpack(document.body), packed=False) if document.packed else document, route)
        for document, route in read.documents
    )
    assert replace(read, documents=whole) == verdict
    assert all(mine is theirs for (_, mine), (_, theirs) in zip(whole, verdict.documents, strict=True))
    assert frames.number_of(frame) == 7


def test_a_route_is_known_by_its_place_and_not_by_what_it_says() -> None:
    """Two routes of a channel may say the same; a verdict names the one that took the message."""
    twins = replace(CHANNEL, routes=(replace(ROUTES[0]), replace(ROUTES[0])))
    verdict = Outcome("mapped", documents=((Document(body=b"{}"), twins.routes[1]),))
    read = frames.read_outcome(over_the_wire(frames.outcome(1, verdict, twins, pack)), twins)
    assert read.documents[0][1] is twins.routes[1]


def test_a_message_may_have_any_number_of_long_codes() -> None:
    """22,000 unknown codes of 800 characters: 16 MB, as much as the head of a frame holds."""
    verdict = Outcome("mapped", unmapped=tuple(Unmapped("analytes", f"{n:0800}") for n in range(22_000)))
    assert frames.read_outcome(over_the_wire(frames.outcome(1, verdict, CHANNEL, pack)), CHANNEL) == verdict


OTHERS = st.dictionaries(st.binary(min_size=32, max_size=32), st.integers(2, 9), max_size=3)


@given(st.binary(max_size=300), st.none() | st.integers(1, 2**62), OTHERS)
def test_a_message_arrives_with_all_that_judging_looks_at(
    payload: bytes, repeat_of: int | None, others: dict[bytes, int]
) -> None:
    stored = Stored(id=5, channel="chem", seq=4, payload=payload, received_us=10**15, repeat_of=repeat_of)
    assert frames.read_map(over_the_wire(frames.map_message(9, stored, others))) == (9, stored, others)


def test_the_configuration_arrives_with_its_key() -> None:
    wanted = frames.Configuration(
        epoch=3, folder="/srv/site", config_hash="ab", identity_key=bytes(range(32)), log_style="human"
    )
    assert frames.read_configure(over_the_wire(frames.configure(wanted))) == wanted
    assert wanted.identity_key.hex() not in repr(wanted)
    assert repr(wanted.identity_key) not in repr(wanted)
