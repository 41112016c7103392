"""Earlier accepted results for the orders of a message: the documents of older messages, and their contents.

An order may come test by test, in hundreds of messages. Each of its documents is opened once; the names in its results
stay in memory (`engine.store.core.writing.batch.Tail`) and show which documents concern a new message.

`NotComparedError` is raised where a document cannot be opened or read as one that a mapping wrote. So damage never
looks as if nothing had been accepted.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from engine.model.errors import IntegrityError, NotComparedError
from engine.model.journal.hashes import neighbours, unpack_reports
from engine.model.journal.records import Routed
from engine.model.message import Bearer, Report
from engine.model.persons import Person
from engine.store.core.rows import body_of
from engine.store.core.writing.batch import Batch
from engine.succession import kinds
from engine.succession.statements import Json, Resource, loads, said_in, written_anew
from engine.succession.steps import RANK, UNFINISHED, Version

MOST_MESSAGES = 500  # of one order that are compared; a counter that never advances must not stop the journal
MOST_LOOKS = 1_000_000  # at accepted results, for one document: about 2 s, during which nothing is acknowledged
NEAR_DAYS = 2  # how near a day must be for its orders to be candidates of a correction
_OPENED, _NAMED = 15, 16  # the cost, in looks, of reading a result and of learning one name of a message
_ENVELOPE_BYTES = 4096  # of a stored document: its seal, and the Bundle around its entries
_MOST_OPENED = 4  # documents whose bytes are compared, before any is parsed
ACCEPTED = ("waiting", "sending", "delivered", "held")


class KnownOrder(NamedTuple):
    """A message that has one of the orders.

    Attributes:
        same_day: its order has the same day of measurement, too; else an adjacent day.
        same_person: it describes the same single person as the message at hand.
    """

    message_id: int
    same_day: bool
    same_person: bool = False


class OlderMessages(NamedTuple):
    """The older messages with the orders of a message.

    Attributes:
        messages: oldest first.
        all: False where there are more of them.
    """

    messages: Sequence[KnownOrder] = ()
    all: bool = True


def is_any_near(batch: Batch, message_id: int, reports: Iterable[Report]) -> bool:
    """Whether another message carries the number of one of these orders, on its day or an adjacent one. One look-up for
    the usual message, whose orders are new.
    """
    return any(
        batch.execute(
            "SELECT 1 FROM report WHERE key BETWEEN ? AND ? AND message_id <> ? LIMIT 1",
            (*neighbours(report.key, NEAR_DAYS), message_id),
        ).fetchone()
        for report in reports
    )


def known_orders(
    batch: Batch,
    message_id: int,
    channel: str,
    reports: Iterable[Report],
    *,
    of_site: bool,
    bearers: Sequence[Bearer] = (),
) -> OlderMessages:
    """The older messages that carry one of these orders for the same patient, or without a patient.

    Args:
        of_site: also those of other channels.
        bearers: the bearers of the patient numbers of the message at hand.
    """
    found: dict[int, tuple[bool, bool]] = {}
    all_of_them = True
    for report in reports:
        first, last = neighbours(report.key, NEAR_DAYS)
        rows = batch.execute(
            "SELECT r.key, r.message_id, r.person, r.patient FROM report r JOIN journal j ON j.id = r.message_id"
            " WHERE r.key BETWEEN ? AND ? AND r.message_id < ? AND (r.patient IN (?, x'') OR r.key = ?)"
            " AND r.until_us >= ? AND (? OR j.channel = ?) ORDER BY r.message_id DESC LIMIT ?",
            (first, last, message_id, report.patient, report.key, batch.steady_us, of_site, channel, MOST_MESSAGES + 1),
        ).fetchall()
        all_of_them = all_of_them and len(rows) <= MOST_MESSAGES
        for key, other, person, patient in rows:
            if patient not in (report.patient, b"") and not _tells_of(batch, other, report):
                continue
            same_day, same_person = found.get(other, (False, False))
            if key == report.key:
                same_day = True
            elif person and person == report.person:
                same_person = same_person or _is_one(person, bearers)
            found[other] = same_day, same_person
    return OlderMessages([KnownOrder(one, *same) for one, same in sorted(found.items())], all_of_them)


def _tells_of(batch: Batch, message_id: int, report: Report) -> bool:
    """Whether a message of another patient concerns this one, too: it has withdrawn a result
    (`engine.features.results.rows.moved_orders`).
    """
    rows = batch.execute("SELECT reports FROM document WHERE message_id = ?", (message_id,)).fetchall()
    found = (one for (packed,) in rows for one in unpack_reports(packed))
    return any((one.key, one.patient) == (report.key, report.patient) for one in found)


def _is_one(whole: bytes, bearers: Iterable[Bearer]) -> bool:
    """Whether the record with this hash identifies a person."""
    return any(one.whole == whole and Person.unpacked(one.record).is_one for one in bearers)


@dataclass
class AcceptedDocument:
    """A document that was accepted for one of the destinations at hand.

    Attributes:
        same_day, same_person: of its message (`KnownOrder`).
        waits: it is held for a person; else it was sent, or will be.
        refused: a delivery of it to another of the destinations is dead.
    """

    document_id: int
    same_day: bool
    waits: bool
    resources: list[Resource]
    same_person: bool = False
    refused: bool = False

    @cached_property
    def subjects(self) -> Counter[str]:
        """The patients of its results, with the number of results of each."""
        return Counter(one.subject for one in self.resources if one.kind == "Observation")

    def is_of(self, subject: str) -> bool:
        """Whether all of it is about one patient, who is the one at hand under another day of a counter."""
        return self.same_person and self.subjects.keys() == {subject}

    def named(self, name: str) -> Resource | None:
        return self._named.get(name)

    def listing(self, result: str) -> Sequence[Resource]:
        """The reports that list the result with this id, last first."""
        return self._listing.get(result, ())

    @cached_property
    def _named(self) -> dict[str, Resource]:
        return {one.name: one for one in self.resources}

    @cached_property
    def _listing(self) -> dict[str, list[Resource]]:
        found: dict[str, list[Resource]] = {}
        for one in reversed(self.resources):
            if one.kind == "DiagnosticReport":
                for listed in dict.fromkeys(one.lists):
                    found.setdefault(listed, []).append(one)
        return found


class AcceptedHistory:
    """The documents that the destinations have accepted for the orders at hand, oldest first.

    Attributes:
        documents: those that contain one of the requested results or tests. One may have ten thousand results.
    """

    def __init__(
        self,
        batch: Batch,
        known: Sequence[KnownOrder],
        routed: Routed,
        names: Iterable[str] | None,
        states: tuple[str, ...] = ACCEPTED,
    ) -> None:
        """Load the documents of the ``known`` messages.

        Args:
            names: the names in the new document (`names_in`); None: load all.

        Raises:
            NotComparedError: a document that may contain one of them cannot be read.
        """
        self._batch, self._states, self._destinations = batch, states, routed.destinations
        self._looks = 0
        self._names: dict[int, frozenset[int] | None] = {}  # message -> hashes of its names
        self._known = [*known]
        self._accepted: dict[int, list[AcceptedDocument]] = {}  # message -> its documents, once they were loaded
        self.documents: list[AcceptedDocument] = []
        self._versions: dict[str, list[Version]] = {}
        self._by_code: dict[str, list[tuple[AcceptedDocument, Resource]]] = {}
        self._by_time: dict[tuple[str, str], list[tuple[AcceptedDocument, Resource]]] = {}
        self._unfinished: dict[str, list[tuple[AcceptedDocument, Resource]]] = {}
        self._taken: set[int] = set()
        self.take(names)

    def count_looks(self, results: int = 1) -> None:
        """Count the comparisons with accepted results.

        Raises:
            NotComparedError: the limit of `MOST_LOOKS` is reached.
        """
        self._looks += results
        if self._looks > MOST_LOOKS:
            raise NotComparedError("there are too many results of the same orders")

    def take(self, names: Iterable[str] | None) -> None:
        """Also load the documents that contain one of these names."""
        wanted = None if names is None else frozenset(map(hash, names))
        more = {one.message_id for one in self._known if self._may_tell(one, wanted)} - self._taken
        if not more:
            return
        self._taken |= more
        self.documents = [
            document for one in self._known if one.message_id in self._taken for document in self._accepted_of(one)
        ]
        self.count_looks(sum(len(one.resources) for one in self.documents))
        self._versions, self._by_code, self._by_time, self._unfinished = {}, {}, {}, {}
        for accepted in self.documents:
            for one in accepted.resources:
                self._versions.setdefault(one.name, []).append(version_of(one, accepted.waits, accepted.refused))
                if one.kind == "Observation":
                    for code in one.codes:
                        self._by_code.setdefault(code, []).append((accepted, one))
                        self._by_time.setdefault((code, one.time), []).append((accepted, one))
                        if one.said in UNFINISHED:
                            self._unfinished.setdefault(code, []).append((accepted, one))

    def versions(self, name: str) -> list[Version]:
        """The versions of a result, or of another resource whose name was requested."""
        return self._versions.get(name, [])

    def has(self, name: str) -> bool:
        return name in self._versions or any(one.named(name) is not None for one in self._telling(name))

    def of_test(self, codes: Iterable[str]) -> Iterator[tuple[AcceptedDocument, Resource]]:
        """The results of a test, by any of its codes."""
        for code in codes:
            for found in self._by_code.get(code, ()):
                self.count_looks()
                yield found

    def measured_at(self, codes: Iterable[str], time: str) -> Iterator[tuple[AcceptedDocument, Resource]]:
        """As `of_test`, only those with this time of measurement."""
        for code in codes:
            yield from self._by_time.get((code, time), ())

    def unfinished(self, codes: Iterable[str]) -> Iterator[tuple[AcceptedDocument, Resource]]:
        """As `of_test`, only those that were accepted unfinished."""
        for code in codes:
            yield from self._unfinished.get(code, ())

    def last(self, name: str) -> tuple[AcceptedDocument, Resource] | None:
        """The last version of a resource that is not held, and its document."""
        for accepted in self._telling(name):
            if not accepted.waits and (found := accepted.named(name)) is not None:
                return accepted, found
        return None

    def last_of(self, name: str) -> Resource | None:
        found = self.last(name)
        return None if found is None else found[1]

    def listing(self, name: str) -> Iterator[Resource]:
        """The reports that list a result, each in its last version."""
        identity, seen = name.partition("/")[2], set()
        for accepted in self._telling(name):
            for one in () if accepted.waits else accepted.listing(identity):
                if one.name not in seen:
                    seen.add(one.name)
                    if (last := self.last(one.name)) is not None and last[1] in last[0].listing(identity):
                        yield last[1]

    def has_results(self, name: str) -> bool:
        """Whether a report with results was accepted and not cancelled."""
        found = (accepted.named(name) for accepted in self._telling(name))
        return any(one is not None and one.lists and one.said in RANK for one in found)

    def has_said(self, new: Resource, *, listed: bool) -> bool:
        """Whether an identical resource was accepted; with ``listed`` also its list of results must be equal."""
        return any(
            (one := accepted.named(new.name)) is not None
            and (one.whole, one.said) == (new.whole, new.said)
            and (not listed or set(one.lists) == set(new.lists))
            for accepted in self._telling(new.name)
        )

    def written_anew(self, statuses: Mapping[str, str], *, by_sender: bool = False) -> tuple[str, ...]:
        """The entries that rewrite resources of other messages with a new status: name -> status. Each document is
        opened once.

        Args:
            by_sender: the statuses are the sender's own.

        Raises:
            NotComparedError: a document cannot be opened.
        """
        found: dict[int, dict[str, str]] = {}
        for name, status in statuses.items():
            if (last := self.last(name)) is not None:
                found.setdefault(last[0].document_id, {})[name] = status
        made: dict[str, str] = {}
        for document_id, some in found.items():
            made |= written_anew(bundle_of(self._batch, document_id), some, by_sender=by_sender)
        return tuple(made[name] for name in statuses if name in made)

    def _telling(self, name: str) -> Iterator[AcceptedDocument]:
        """The documents that may contain a resource of this name, newest first."""
        wanted = frozenset((hash(name),))
        for known in reversed(self._known):
            if self._may_tell(known, wanted):
                yield from reversed(self._accepted_of(known))

    def _may_tell(self, known: KnownOrder, wanted: frozenset[int] | None) -> bool:
        if wanted is None:
            return True
        if known.message_id not in self._names:
            found = self._names[known.message_id] = _told_by(self._batch, known.message_id)
            self.count_looks(_NAMED * len(found or ()))
        names = self._names[known.message_id]
        return names is None or not wanted.isdisjoint(names)

    def _accepted_of(self, known: KnownOrder) -> list[AcceptedDocument]:
        found = self._accepted.get(known.message_id)
        if found is None:
            marks, asked = ",".join("?" * len(self._destinations)), ",".join("?" * len(self._states))
            rows = self._batch.execute(
                f"SELECT d.document_id, max(d.state IN ({asked})), max(d.state IN ({asked}) AND d.state <> 'held'),"  # noqa: S608 - question marks
                " max(d.state = 'dead') FROM delivery d JOIN lane l ON l.id = d.lane"
                f" JOIN document o ON o.id = d.document_id WHERE d.message_id = ? AND l.destination IN ({marks})"
                " AND o.media_type = ? AND o.reports <> x'' GROUP BY d.document_id ORDER BY d.document_id",
                (*self._states, *self._states, known.message_id, *self._destinations, kinds.FHIR),
            ).fetchall()
            found = self._accepted[known.message_id] = [
                AcceptedDocument(
                    document_id,
                    known.same_day,
                    not sent,
                    told(self._batch, document_id),
                    known.same_person,
                    bool(dead),
                )
                for document_id, accepted, sent, dead in rows
                if accepted
            ]
            self.count_looks(_OPENED * sum(len(one.resources) for one in found))
        return found


def has_accepted(batch: Batch, known: Sequence[KnownOrder], routed: Routed, body: bytes) -> bool:
    """Whether a transaction with exactly these entries was accepted. False proves nothing: the documents have to be
    compared.

    An analyzer that sends its memory repeats hundreds of messages in a row, so this check parses nothing. A stored
    document whose compressed size is larger than this one has other entries: a report with a PDF is not even opened.
    """
    messages = [one.message_id for one in known if one.same_day]
    if not messages or routed.document.media_type != kinds.FHIR or (said := said_in(body)) is None:
        return False
    asked = ",".join("?" * len(messages)), ",".join("?" * len(routed.destinations)), ",".join("?" * len(ACCEPTED))
    rows = batch.execute(  # a document that another of the destinations refused must still go there
        "SELECT d.document_id FROM delivery d JOIN lane l ON l.id = d.lane"  # noqa: S608 - question marks
        f" JOIN document o ON o.id = d.document_id WHERE d.message_id IN ({asked[0]}) AND l.destination IN ({asked[1]})"
        " AND o.media_type = ? AND o.reports <> x'' AND length(o.body) <= ? GROUP BY d.document_id"
        f" HAVING max(d.state IN ({asked[2]})) AND NOT max(d.state = 'dead') ORDER BY d.document_id LIMIT ?",
        (*messages, *routed.destinations, kinds.FHIR, len(body) + _ENVELOPE_BYTES, *ACCEPTED, _MOST_OPENED),
    ).fetchall()
    try:
        return any(said_in(body_of(batch, document_id)) == said for (document_id,) in rows)
    except (IntegrityError, ValueError):
        return False


def names_in(resources: Iterable[Resource]) -> set[str]:
    """The names by which a new document may be compared: its results and their tests, and the document itself where it
    is one; without these, its reports.
    """
    mine = list(resources)
    results = {name for one in mine if one.kind in ("Observation", "Composition") for name in (one.name, *one.codes)}
    return results or {one.name for one in mine if one.kind == "DiagnosticReport"}


def _told_by(batch: Batch, message_id: int) -> frozenset[int] | None:
    """Hashes of all names in the documents of a message: results, tests, and the results that reports list. None: a
    document cannot be read.
    """
    known = batch.tail.names.get(message_id)
    if known is not None:
        return known
    rows = batch.execute(
        "SELECT id FROM document WHERE message_id = ? AND reports <> x'' ORDER BY id", (message_id,)
    ).fetchall()
    names: set[int] = set()
    try:
        for (document_id,) in rows:
            for one in told(batch, document_id):
                names.add(hash(one.name))
                names.update(map(hash, one.codes))
                names.update(hash(f"Observation/{result}") for result in one.lists)
    except NotComparedError:
        return None
    found = frozenset(names)
    batch.tail.keep_names(message_id, found, newest=rows[-1][0] if rows else 0)
    return found


def told(batch: Batch, document_id: int) -> list[Resource]:
    """The resources in a stored document; none where it is not in FHIR.

    Raises:
        NotComparedError: it cannot be opened, or no mapping wrote it.
    """
    known = batch.tail.told.get(document_id)
    if known is not None:
        return known
    (media_type,) = batch.execute("SELECT media_type FROM document WHERE id = ?", (document_id,)).fetchone()
    try:
        document = kinds.opened(body_of(batch, document_id), kinds.FHIR, None) if media_type == kinds.FHIR else None
    except (IntegrityError, ValueError) as error:  # `labrelay verify` reports the damage
        raise _not_read(batch, document_id) from error
    found = list(document.resources) if document is not None else []
    batch.tail.keep_told(document_id, found)
    return found


def _not_read(batch: Batch, document_id: int) -> NotComparedError:
    (message_id,) = batch.execute("SELECT message_id FROM document WHERE id = ?", (document_id,)).fetchone()
    return NotComparedError(f"the document of message {message_id} cannot be read", message_id)


def bundle_of(batch: Batch, document_id: int) -> Json:
    """A stored document.

    Raises:
        NotComparedError: it cannot be opened, or is no Bundle.
    """
    try:
        return loads(body_of(batch, document_id))
    except (IntegrityError, ValueError) as error:
        raise _not_read(batch, document_id) from error


def version_of(one: Resource, waits: bool, refused: bool = False) -> Version:
    return Version(
        one.status, one.said, one.whole, one.time, one.has_value, waits, one.repeats, refused, one.content, one.issued
    )
