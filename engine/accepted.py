"""What was accepted before for the orders of a message: the documents of older messages, and what they tell.

A document is opened once: what it tells is kept in memory (`engine.batch.Tail.told`) for orders that come test by test.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from engine import kinds
from engine.batch import Batch
from engine.errors import IntegrityError
from engine.hashes import neighbours
from engine.message import Report
from engine.packing import unpack
from engine.records import Routed
from engine.succession import Version
from engine.told import Json, Resource, loads

MOST_MESSAGES = 200  # of one order that are looked at; a counter that never moves must not stop the journal
NEAR_DAYS = 2  # whose orders of the same number are looked at for what a correction may mean
ACCEPTED = ("waiting", "sending", "delivered", "held")


class Known(NamedTuple):
    """A message that has one of the orders at hand.

    Attributes:
        same_day: its order has the same day of measurement, too; else one of the days beside it.
    """

    message_id: int
    same_day: bool


def known_orders(
    batch: Batch, message_id: int, channel: str, reports: Iterable[Report], *, of_site: bool
) -> list[Known]:
    """The older messages that carry one of these orders for the same patient, the oldest first.

    Args:
        of_site: those of other channels, too.
    """
    found: dict[int, bool] = {}
    for report in reports:
        first, last = neighbours(report.key, NEAR_DAYS)
        for key, other in batch.execute(
            "SELECT r.key, r.message_id FROM report r JOIN journal j ON j.id = r.message_id WHERE r.key BETWEEN ? AND ?"
            " AND r.message_id < ? AND r.patient = ? AND r.until_us >= ? AND (? OR j.channel = ?)"
            " ORDER BY r.message_id DESC LIMIT ?",
            (first, last, message_id, report.patient, batch.steady_us, of_site, channel, MOST_MESSAGES),
        ).fetchall():
            found[other] = found.get(other, False) or key == report.key
    return [Known(one, same_day) for one, same_day in sorted(found.items())]


@dataclass(slots=True)
class Accepted:
    """A document that was accepted for one of the destinations at hand."""

    document_id: int
    same_day: bool
    waits: bool
    resources: list[Resource]


class Past:
    """What was accepted for the orders at hand, the oldest first. One message may have ten thousand results."""

    def __init__(self, documents: Sequence[Accepted] = ()) -> None:
        self.documents = documents
        self.reports: dict[str, Resource] = {}  # the last version of each that does not wait for a person
        self._versions: dict[str, list[Version]] = {}
        self._by_code: dict[str, list[tuple[Accepted, Resource]]] = {}
        for accepted in documents:
            for one in accepted.resources:
                self._versions.setdefault(one.name, []).append(version_of(one, accepted.waits))
                if one.kind == "Observation":
                    for code in one.codes:
                        self._by_code.setdefault(code, []).append((accepted, one))
                elif one.kind == "DiagnosticReport" and not accepted.waits:
                    self.reports[one.name] = one

    def versions(self, name: str) -> list[Version]:
        return self._versions.get(name, [])

    def has(self, name: str) -> bool:
        return name in self._versions

    def of_test(self, codes: Iterable[str]) -> Iterator[tuple[Accepted, Resource]]:
        """The results of a test, by any of its codes."""
        for code in codes:
            yield from self._by_code.get(code, ())


def past_of(batch: Batch, known: Sequence[Known], routed: Routed, states: tuple[str, ...] = ACCEPTED) -> Past:
    """What was accepted for the destinations of a document, of its kind."""
    destinations, media_type = routed.destinations, routed.document.media_type
    marks, asked = ",".join("?" * len(destinations)), ",".join("?" * len(states))
    documents = []
    for message_id, same_day in known:
        if not same_day and not kinds.has_ids(media_type):
            continue  # its receiver goes by the order's number, and no day stands in the names of results
        rows = batch.execute(
            "SELECT d.document_id, max(d.state <> 'held') FROM delivery d JOIN lane l ON l.id = d.lane"  # noqa: S608 - question marks
            f" JOIN document o ON o.id = d.document_id WHERE d.message_id = ? AND l.destination IN ({marks})"
            f" AND d.state IN ({asked}) AND o.media_type = ? AND o.reports <> x'' GROUP BY d.document_id"
            " ORDER BY d.document_id",
            (message_id, *destinations, *states, media_type),
        ).fetchall()
        for document_id, sent in rows:
            documents.append(Accepted(document_id, same_day, not sent, told(batch, document_id)))
    return Past(documents)


def told(batch: Batch, document_id: int) -> list[Resource]:
    """What a stored document tells; nothing where it cannot be opened, or is of no kind that is compared."""
    known = batch.tail.told.get(document_id)
    if known is not None:
        return known
    try:
        found = _told(batch, document_id)
    except (IntegrityError, ValueError):
        found = []  # `labrelay verify` says what is wrong
    batch.tail.keep_told(document_id, found)
    return found


def _told(batch: Batch, document_id: int) -> list[Resource]:
    media_type, ordinal, message_id, channel, sealed = batch.execute(
        "SELECT o.media_type, o.ordinal, j.id, j.channel, s.detail FROM document o"
        " JOIN journal j ON j.id = o.message_id JOIN message_state s ON s.id = j.id WHERE o.id = ?",
        (document_id,),
    ).fetchone()
    document = kinds.opened(body_of(batch, document_id), media_type, batch.zone)
    if document is None:
        return []
    if kinds.has_ids(media_type) or not sealed:
        return list(document.resources)
    # It has no field for the status as the sender gave it: what we changed is told with the facts beside the outcome.
    note = orjson.loads(batch.vault.open(sealed, "message_state", message_id, channel))
    changed = note.get("facts", {}).get(str(ordinal), {}).get("statuses", {})
    return [one._replace(said="final") if one.name in changed else one for one in document.resources]


def body_of(batch: Batch, document_id: int) -> bytes:
    """A stored document.

    Raises:
        IntegrityError, ValueError: it cannot be opened, or not unpacked.
    """
    sealed, channel = batch.execute(
        "SELECT o.body, j.channel FROM document o JOIN journal j ON j.id = o.message_id WHERE o.id = ?", (document_id,)
    ).fetchone()
    body, packed = batch.vault.open_packed(sealed, "document", document_id, channel)
    return unpack(body) if packed else body


def bundle_of(batch: Batch, document_id: int) -> Json | None:
    """A stored document; None where it cannot be opened, or is no Bundle."""
    try:
        return loads(body_of(batch, document_id))
    except (IntegrityError, ValueError):
        return None


def version_of(one: Resource, waits: bool) -> Version:
    return Version(one.status, one.said, one.whole, one.time, one.has_value, waits, one.repeats)
