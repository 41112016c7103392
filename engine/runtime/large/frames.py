"""The content of each frame between the main process and the one for large messages. Pure: values to frames and back.

    main -> large     configure  epoch, site folder, configuration hash, log style and level | identity key, corrections
                      map        number, input of the mapping | payload
                      forget     drop the message that waits to be processed
                      ping, stop
    large -> main     ready      epoch                  refused  epoch, why
                      outcome    number, outcome | what was noted; each document: body, keys, reports, facts;
                                 what it is where numbers of controls are patients'
                      pong

Reports and conditional keys travel as the journal stores them. Names of routes do not travel: both sides have built the
same configuration, so a route is its position in its channel.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import orjson

from engine.mapping.outputs import collected as order_lines
from engine.model.content.order_results import TubeResults
from engine.model.content.quality_controls import ControlResult
from engine.model.content.result_times import ResultGroup
from engine.model.content.search_keys import Number
from engine.model.journal.hashes import pack_reports, split_hashes, unpack_reports
from engine.model.message import (
    Bearer,
    Document,
    Issue,
    Reagent,
    Stored,
    Unmapped,
    UsedNumber,
)
from engine.model.outcome import Outcome, ReadResults
from engine.model.routes import ChannelRoutes, Processed
from engine.model.site.corrections import NONE, Corrections, Sheet
from engine.model.texts.reasons import ReasonCode
from engine.model.worklist import Ordered, ResultOf
from engine.runtime.large.wire import Decoder, Frame, encode

Parts = list[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The configuration that the process has to build.

    Attributes:
        epoch: counts configurations; the answer repeats it, so that a late one is not taken for that to a later one.
        config_hash: `Site.hash` as the main process read it. The process must find the same.
        corrections: of code tables; the process reads no journal.
        log_style, log_level: as `engine.monitoring.logs.setup_logging` takes them.
    """

    epoch: int
    folder: str
    config_hash: str
    identity_key: bytes = field(repr=False)
    corrections: Corrections = NONE
    log_style: str = "json"
    log_level: str = "INFO"


_CONFIGURATION = ("epoch", "folder", "config_hash", "log_style", "log_level")
_STORED = ("id", "channel", "seq", "received_us", "repeat_of", "equal_to")
_of_stored = attrgetter(*_STORED)
_of_unmapped = attrgetter("table", "code", "unit", "display")

# -- main -> large -------------------------------------------------------------------------------------------------

FORGET = encode("forget")
PING = encode("ping")
STOP = encode("stop")


def configure(wanted: Configuration) -> Parts:
    above = wanted.corrections
    sheets = {channel: {name: list(one) for name, one in tables.items()} for channel, tables in above.sheets.items()}
    blobs = wanted.identity_key, orjson.dumps([above.version, sheets])
    return encode("configure", attrgetter(*_CONFIGURATION)(wanted), blobs)


def read_configure(frame: Frame) -> Configuration:
    version, given = orjson.loads(frame.blobs[1])
    sheets = {channel: {table: Sheet(*one) for table, one in tables.items()} for channel, tables in given.items()}
    return Configuration(
        identity_key=frame.blobs[0],
        corrections=Corrections(version, sheets),
        **_named(_CONFIGURATION, frame.fields),
    )


def map_message(number: int, stored: Stored, others: Mapping[bytes, int]) -> Parts:
    """Process this message. Its control id and type stay here: processing reads them from the payload.

    Args:
        others: see `engine.model.message.MapContext`; usually none.
    """
    fields = (number, list(others.values()), *_of_stored(stored))
    return encode("map", fields, (stored.payload, b"".join(others)))


def read_map(frame: Frame) -> tuple[int, Stored, dict[bytes, int]]:
    number, persons, *fields = frame.fields
    stored = Stored(payload=frame.blobs[0], **_named(_STORED, fields))
    if not persons:
        return number, stored, {}
    hashes = split_hashes(frame.blobs[1])
    numbers = (number + whole for number, whole in zip(hashes[::2], hashes[1::2], strict=True))
    return number, stored, dict(zip(numbers, persons, strict=True))


def _named(names: tuple[str, ...], values: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(names, values, strict=True))


# -- large -> main -------------------------------------------------------------------------------------------------

PONG = encode("pong")


def ready(epoch: int) -> Parts:
    return encode("ready", (epoch,))


def refused(epoch: int, problems: Sequence[str]) -> Parts:
    return encode("refused", (epoch, list(problems)))


def outcome(
    number: int, found: Processed, channel: ChannelRoutes, pack: Callable[[bytes], tuple[bytes, bool]]
) -> Parts:
    """The outcome of message ``number``, its documents compressed.

    Raises:
        TypeError: a text in it cannot be written as JSON.
    """
    positions = {id(route): position for position, route in enumerate(channel.routes)} if found.documents else {}
    noted = (  # a blob: a message may have ten thousand long codes
        found.issues,
        found.reagents,
        found.controls,
        [tuple(one) for one in found.numbers],
        found.tubes,
        order_lines.encode(list(found.ordered.lines)).decode() if found.ordered is not None else None,
        found.results,
        found.critical,
        found.read and found.read[1:-1],
        found.conflict,
        None if found.doubted is None else found.doubted[0],
    )
    documents: list[Any] = []
    blobs = [orjson.dumps([*map(_of_unmapped, found.unmapped)]), orjson.dumps(noted)]
    blobs.append(found.read.facts if found.read is not None else b"")
    for document, route in found.documents:
        body, packed = (document.body, True) if document.packed else pack(document.body)
        bearers = [(bearer.lasting, bearer.person, bearer.master) for bearer in document.bearers]
        used = [(one.day, one.within, one.reports) for one in document.used]
        documents.append(
            (positions[id(route)], document.media_type, packed, document.entries, bearers, used, document.places)
        )
        blobs += (body, b"".join(document.conditional), pack_reports(document.reports), document.facts)
        for bearer in document.bearers:
            blobs += (bearer.number + bearer.whole, bearer.record)
        blobs += (one.key for one in document.used)
    if found.doubted is not None:
        blobs.append(b"".join(outcome(number, found.doubted[1], channel, pack)))
    return encode(
        "outcome",
        (
            number,
            found.state,
            found.reason.value if found.reason is not None else None,
            found.detail,
            found.mapping,
            documents,
        ),
        blobs,
    )


def _bearer(hashes: bytes, record: bytes, lasting: bool, person: int, master: bool) -> Bearer:
    number, whole = split_hashes(hashes)
    return Bearer(number=number, whole=whole, record=record, lasting=lasting, person=person, master=master)


def _tube(one: dict[str, Any]) -> TubeResults:
    tests = tuple(ResultOf(**test) for test in one["tests"])
    return TubeResults(**{**one, "tests": tests, "groups": tuple(one["groups"])})


def number_of(frame: Frame) -> int:
    """The message of an outcome."""
    number: int = frame.fields[0]
    return number


def read_outcome(frame: Frame, channel: ChannelRoutes) -> Processed:
    """``channel`` as it was when the message was handed over."""
    _, state, reason, detail, mapping, documents = frame.fields
    blobs = iter(frame.blobs)
    unmapped = tuple(Unmapped(*one) for one in orjson.loads(next(blobs)))  # before the rest: it may be large
    issues, reagents, controls, numbers, tubes, lines, results, critical, read, conflict, doubted = orjson.loads(
        next(blobs)
    )
    of_results = next(blobs)
    made = []
    for position, media_type, packed, entries, bearers, used, places in documents:
        body, conditional, reports, facts = next(blobs), next(blobs), next(blobs), next(blobs)
        document = Document(
            body=body,
            packed=packed,
            media_type=media_type,
            conditional=split_hashes(conditional),
            reports=tuple(unpack_reports(reports)),
            bearers=tuple(_bearer(next(blobs), next(blobs), *one) for one in bearers),
            used=tuple(UsedNumber(next(blobs), day, within, tuple(reports)) for day, within, reports in used),
            entries=entries,
            facts=facts,
            places=tuple((place, part) for place, part in places),
        )
        made.append((document, channel.routes[position]))
    return Outcome(
        state,
        None if reason is None else ReasonCode[reason],
        detail,
        mapping,
        tuple(made),
        tuple(Issue(**one) for one in issues),
        unmapped,
        tuple(Reagent(**{**one, "tests": tuple(one["tests"])}) for one in reagents),
        tuple(ControlResult(**{**one, "codes": tuple(one["codes"])}) for one in controls),
        tuple(Number(kind, text) for kind, text in numbers),
        tuple(map(_tube, tubes)),
        None
        if lines is None or channel.takes is None
        else Ordered(lines=order_lines.decode(lines.encode()), settings=channel.takes),
        tuple(ResultGroup(**{**one, "codes": tuple(one["codes"]), "tests": tuple(one["tests"])}) for one in results),
        tuple(critical),
        None if read is None else _read(of_results, read),
        conflict,
        channel.controls_of,
        None if doubted is None else (tuple(doubted), read_outcome(Decoder().feed(next(blobs))[0], channel)),
    )


def _read(facts: bytes, read: Sequence[Any]) -> ReadResults:
    *settings, numbers, orders = read
    return ReadResults._make((facts, *settings, tuple(numbers), tuple(orders), None))
