"""The content of each frame between the main process and its worker. Pure: values to frames and back.

    main -> worker    configure  epoch, site folder, configuration hash, log style and level | identity key, corrections
                      map        number, input of the mapping | payload
                      forget     drop all messages that wait to be processed
                      deliver    request, fields for the destination | document
                      cancel     request
                      ping, stop
    worker -> main    ready      epoch                  refused  epoch, why
                      outcome    number, outcome | what was noted; each document: body, conditional keys, reports, facts
                      delivered  request, versions      failed   request, class, reason, detail ... | answer
                      late       destination, delivery, channel, detail | answer
                      pong

Reports and conditional keys travel as the journal stores them. Names of routes do not travel: both sides have built the
same configuration, so a route is its position in its channel.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import orjson

from engine.delivery.attempts import OUR_FAULT_ATTEMPTS
from engine.delivery.settlement import away_of
from engine.mapping.outputs import orders as order_lines
from engine.model.content.order_results import TubeResults
from engine.model.content.quality_controls import ControlResult
from engine.model.content.result_times import ResultGroup
from engine.model.content.search_keys import Number
from engine.model.errors import DeliveryError, DestinationDownError, RefusedDeliveryError, TransientDeliveryError
from engine.model.journal.hashes import pack_reports, split_hashes, unpack_reports
from engine.model.message import (
    Bearer,
    Delivery,
    Document,
    Issue,
    LateRefusal,
    Reagent,
    Stored,
    Unmapped,
    UsedNumber,
)
from engine.model.outcome import Outcome, Spoken
from engine.model.routes import ChannelRoutes, Processed
from engine.model.site.corrections import NONE, Corrections, Sheet
from engine.model.texts.reasons import ReasonCode
from engine.model.versions import Versions
from engine.model.worklist import Ordered, ResultOf
from engine.runtime.worker.wire import Frame, encode

Parts = list[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The configuration that the worker has to build.

    Attributes:
        epoch: counts configurations; the answer repeats it, so that a late one is not taken for that to a later one.
        config_hash: `Site.hash` as the main process read it. The worker must find the same.
        corrections: of code tables; the worker reads no journal.
        delivers: it opens the destinations, too.
        log_style, log_level: as `engine.monitoring.logs.setup_logging` takes them.
    """

    epoch: int
    folder: str
    config_hash: str
    identity_key: bytes = field(repr=False)
    corrections: Corrections = NONE
    log_style: str = "json"
    log_level: str = "INFO"
    delivers: bool = True


_CONFIGURATION = ("epoch", "folder", "config_hash", "log_style", "log_level", "delivers")
_STORED = ("id", "channel", "seq", "received_us", "repeat_of", "equal_to")
_DELIVERY = (
    *("id", "message_id", "channel", "destination", "seq", "key", "packed", "media_type", "received_us", "attempt"),
    *("maybe_delivered", "manual", "entries", "message_type", "earlier", "traceparent"),
)
_of_stored, _of_delivery = attrgetter(*_STORED), attrgetter(*_DELIVERY)
_of_unmapped = attrgetter("table", "code", "unit", "display")

# -- main -> worker ------------------------------------------------------------------------------------------------

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


def deliver(request: int, one: Delivery) -> Parts:
    return encode("deliver", (request, *_of_delivery(one)), (one.body,))


def read_deliver(frame: Frame) -> tuple[int, Delivery]:
    """The fields of a delivery that a destination may read; those for the order of deliveries stay with main."""
    request, *fields = frame.fields
    return request, Delivery(body=frame.blobs[0], **_named(_DELIVERY, fields))


def _named(names: tuple[str, ...], values: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(names, values, strict=True))


def cancel(request: int) -> Parts:
    return encode("cancel", (request,))


# -- worker -> main ------------------------------------------------------------------------------------------------

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
        [tuple(one) for one in found.spoken],
    )
    documents: list[Any] = []
    blobs = [orjson.dumps([*map(_of_unmapped, found.unmapped)]), orjson.dumps(noted)]
    for document, route in found.documents:
        body, packed = (document.body, True) if document.packed else pack(document.body)
        bearers = [(bearer.lasting, bearer.person, bearer.master) for bearer in document.bearers]
        used = [(one.day, one.within, one.reports) for one in document.used]
        documents.append((positions[id(route)], document.media_type, packed, document.entries, bearers, used))
        blobs += (body, b"".join(document.conditional), pack_reports(document.reports), document.facts)
        for bearer in document.bearers:
            blobs += (bearer.number + bearer.whole, bearer.record)
        blobs += (one.key for one in document.used)
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
    issues, reagents, controls, numbers, tubes, lines, results, spoken = orjson.loads(next(blobs))
    made = []
    for position, media_type, packed, entries, bearers, used in documents:
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
        tuple(Spoken(*one) for one in spoken),
    )


def delivered(request: int, versions: Versions = ()) -> Parts:
    return encode("delivered", (request, versions))


def read_delivered(frame: Frame) -> Versions:
    return tuple((resource, version) for resource, version in frame.fields[1])


_CLASSES: dict[str, type[DeliveryError]] = {
    "down": DestinationDownError,
    "transient": TransientDeliveryError,
    "refused": RefusedDeliveryError,
}


def failed(request: int, error: DeliveryError) -> Parts:
    """A failed delivery, with its error."""
    kind = next((kind for kind, family in _CLASSES.items() if isinstance(error, family)), "refused")
    retry_after, limit = None, None
    if isinstance(error, TransientDeliveryError):
        retry_after, limit = error.retry_after, error.limit
    told = (request, kind, error.reason.value, error.detail, retry_after, limit, away_of(error))
    return encode("failed", told, (error.answer,))


def late(destination: str, refusal: LateRefusal) -> Parts:
    """A delivered document was refused."""
    return encode("late", (destination, refusal.delivery_id, refusal.channel, refusal.detail), (refusal.answer,))


def read_late(frame: Frame) -> tuple[str, LateRefusal]:
    destination, delivery_id, channel, detail = frame.fields
    return destination, LateRefusal(delivery_id, channel, detail, frame.blobs[0])


def fault(request: int, error: Exception) -> Parts:
    """An error of ours while delivering: retried a few times, as in one process."""
    return failed(request, TransientDeliveryError(ReasonCode.NO_ANSWER, type(error).__name__, limit=OUR_FAULT_ATTEMPTS))


def read_failed(frame: Frame) -> DeliveryError:
    _, kind, code, detail, retry_after, limit, away = frame.fields
    reason, answer = ReasonCode[code], frame.blobs[0]
    if kind == "refused":
        return RefusedDeliveryError(reason, detail, answer=answer)
    family = DestinationDownError if kind == "down" else TransientDeliveryError
    error = family(reason, detail, retry_after=retry_after, limit=limit, answer=answer)
    error.away = away
    return error
