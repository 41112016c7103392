"""The documents in FHIR that receivers have, and which Observation each result of a message is in them.

A mapping says which Observation a result became (`engine.model.message.Document.places`); their order is kept with the
facts of the message, and the ids are those of the stored document. So an earlier result is found by its message and its
place, whatever it says.

`NotComparedError` is raised where a document cannot be opened or read as one that a mapping wrote, and where nothing
says which Observation a result became. So damage never looks as if nothing had been sent.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from engine.features.results.rows import facts
from engine.model.errors import IntegrityError, NotComparedError
from engine.model.journal.records import Routed
from engine.store.core.connecting import body_of
from engine.store.core.writing.batch import Batch
from engine.succession import kinds
from engine.succession.judge.words import Ref, Standing
from engine.succession.statements import Json, Resource, loads, written_anew
from engine.succession.steps import RANK

_RESULT = "Observation/"
_DOCUMENTS = (
    "SELECT d.document_id, o.ordinal, max(d.state IN ('waiting', 'sending', 'delivered')), o.reports <> x''"
    " FROM delivery d"
    " JOIN lane l ON l.id = d.lane JOIN document o ON o.id = d.document_id"
    " WHERE d.message_id = ? AND l.destination IN ({}) AND o.media_type = ?"
    " GROUP BY d.document_id ORDER BY o.revision DESC, o.ordinal"
)


class SentDocument(NamedTuple):
    """Attributes:
    is_out: it was sent, or will be: it is not held. places: of its results, in the order of its Observations.
    """

    id: int
    is_out: bool
    named: dict[str, Resource]
    places: Sequence[int] | None


class Sent:
    """What the receivers of one document have of the messages before it."""

    def __init__(self, batch: Batch, routed: Routed, messages: Iterable[int]) -> None:
        self._batch, self._to = batch, routed.destinations
        self._newest = sorted({*messages}, reverse=True)
        self._documents: dict[int, list[SentDocument]] = {}
        self._ids: dict[int, list[dict[int, str]]] = {}

    def documents(self, message: int) -> list[SentDocument]:
        """Those of a message, the newest mapping first.

        Raises:
            NotComparedError: one cannot be read.
        """
        found = self._documents.get(message)
        if found is None:
            rows = self._batch.execute(
                _DOCUMENTS.format(",".join("?" * len(self._to))), (message, *self._to, kinds.FHIR)
            ).fetchall()
            made = facts.made_of(self._batch, message) if rows else {}
            found = self._documents[message] = [
                SentDocument(one, bool(is_out), {each.name: each for each in told(self._batch, one)}, made.get(ordinal))
                for one, ordinal, is_out, has_reports in rows
                if has_reports or ordinal in made
            ]
        return found

    def all(self) -> Iterator[SentDocument]:
        """Those that are not held, the newest first."""
        for message in self._newest:
            yield from (one for one in reversed(self.documents(message)) if one.is_out)

    # -- results -----------------------------------------------------------------------------------------------------

    def home(self, ref: Ref, one: Standing | None) -> str:
        """The id under which receivers have a result; empty: they never got it.

        Raises:
            NotComparedError: nothing says which one it is.
        """
        words = () if one is None else ((word.message, word.place) for word in one.words)
        for message, place in dict.fromkeys((ref, *words)):
            if identity := self._identity(message, place):
                return identity
        return ""

    def _identity(self, message: int, place: int) -> str:
        if (found := self._ids.get(message)) is None:
            found = self._ids[message] = [*self._ids_in(message)]
        return next((ids[place] for ids in found if place in ids), "")

    def _ids_in(self, message: int) -> Iterator[dict[int, str]]:
        """Of each document of a message, place of a result -> its id."""
        for one in self.documents(message):
            ids = [name.removeprefix(_RESULT) for name in one.named if name.startswith(_RESULT)]
            if one.places is None or len(one.places) > len(ids):
                raise NotComparedError(f"nothing says which result is which in the document of message {message}")
            yield dict(zip(one.places, ids, strict=False))

    def last(self, name: str, messages: Iterable[int] = ()) -> tuple[SentDocument, Resource] | None:
        """The last version of a resource that went out, in these messages, or in all."""
        several = (self.documents(one) for one in sorted({*messages}, reverse=True))
        within = (one for some in several for one in reversed(some) if one.is_out) if messages else self.all()
        for document in within:
            if (found := document.named.get(name)) is not None:
                return document, found
        return None

    # -- reports -----------------------------------------------------------------------------------------------------

    def has_said(self, new: Resource, *, listed: bool) -> bool:
        """Whether an identical report was accepted; with ``listed`` also its list of results must be equal."""
        known = (one.named.get(new.name) for message in self._newest for one in self.documents(message))
        return any(
            (one.whole, one.said) == (new.whole, new.said) and (not listed or {*one.lists} == {*new.lists})
            for one in known
            if one is not None
        )

    def has_results(self, name: str) -> bool:
        """Whether a report with results was accepted, and not cancelled."""
        known = (one.named.get(name) for message in self._newest for one in self.documents(message))
        return any(one is not None and one.lists and one.said in RANK for one in known)

    def listing(self, result: str, messages: Iterable[int]) -> list[Resource]:
        """The reports in these messages that list the result with this id, each in its last version."""
        names = {
            one.name
            for message in {*messages}
            for document in self.documents(message)
            for one in (document.named.values() if document.is_out else ())
            if one.kind == "DiagnosticReport" and result in one.lists
        }
        return [last[1] for name in sorted(names) if (last := self.last(name)) is not None]

    def written_anew(self, statuses: Mapping[str, str], *, by_sender: bool = False) -> tuple[str, ...]:
        """The entries that rewrite resources of other messages with a new status: name -> status.

        Args:
            by_sender: the statuses are the sender's own.

        Raises:
            NotComparedError: a document cannot be opened.
        """
        found: dict[int, dict[str, str]] = {}
        for name, status in statuses.items():
            if (last := self.last(name)) is not None:
                found.setdefault(last[0].id, {})[name] = status
        made: dict[str, str] = {}
        for document_id, some in found.items():
            made |= written_anew(bundle_of(self._batch, document_id), some, by_sender=by_sender)
        return tuple(made[name] for name in statuses if name in made)


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
