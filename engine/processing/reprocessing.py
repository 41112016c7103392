"""Map messages of the journal again with today's mapping, and compare the result with the delivered documents.

`examine` maps one message and reports the differences from the documents delivered at each destination. It only reads:
the command shows the findings, and the action (`engine.actions`) sends the differences, as a new revision. An unchanged
document is never sent again, and no older result replaces a newer one that was delivered. A document that its
destination refused (`REFUSED`) counts as present there: a different new one replaces the dead letter.

    unchanged     the same documents as were delivered (or still nothing)
    changed       at least one destination would get a different document, or its first one
    superseded    it would, but a newer message has the same results, and that one was delivered
    withdrawn     nothing would be sent now instead of a delivered document, which stays at its destination
    dead          today's mapping makes it a dead letter
    unsettled     deliveries wait, are held, or are dead letters that this would not fix: these come first
    undelivered   the message itself has no outcome yet, is dead, incomplete or dismissed: `labrelay dlq` is for these
    damaged       it cannot be opened any more
    gone          retention has deleted it since it was chosen
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from engine.config.load import Site
from engine.feature import Hook
from engine.mapping import Program, load
from engine.mapping.conditions import EITHER
from engine.mapping.explanations.differences import DOCUMENT, Change, differences
from engine.model.errors import ConfigError, ErasedError, IntegrityError, StoreError
from engine.model.journal.journal_views import DeliveryView, Trace
from engine.model.journal.records import Routed
from engine.model.message import Document, Report
from engine.model.routes import ChannelRoutes, Processed, Route, routed_by
from engine.model.texts.reasons import ReasonCode
from engine.processing.process import process
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import Reader, reports_of, stored_document, stored_message
from engine.succession.kinds import under

FindingState = Literal[
    "unchanged", "changed", "superseded", "withdrawn", "dead", "unsettled", "undelivered", "damaged", "gone"
]

# Whether a newer message's document with the same results was delivered in a lane, by channel and destination.
NEWER: Hook[Callable[[Reader, int, str, str, Document], bool]] = Hook("would_be_superseded")

OPEN = ("waiting", "sending", "held", "dead")
MAX_GROUPS = 5000  # of distinct changes; FHIR has fewer elements
EXAMPLES = 5
VALUES = 3
VALUE_LENGTH = 200  # of a stored value; an embedded document has millions of characters


@dataclass(frozen=True, slots=True)
class DocumentDifference:
    """A delivered document and the one that today's mapping makes instead, where they differ.

    Attributes:
        outcome: of the new one at these destinations: ``changed`` (it would be sent), ``superseded``, ``withdrawn`` or
            ``dead``.
        before: number of the delivered document; None where nothing was delivered.
        after: the new document; None where the mapping makes none any more.
    """

    outcome: FindingState
    destinations: tuple[str, ...]
    before: int | None
    after: bytes | None


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of mapping a message again.

    Attributes:
        reason: the reason code where it would be dead or filtered.
        send: all its documents, each with the destinations that should get it now (none, where nothing differs).
        same_reports: they carry the reports that were delivered, of the same patients: conflicts with other messages
            about these numbers were decided when the message was mapped first.
        compared: the differing documents, also those that are not sent.
    """

    message_id: int
    outcome: FindingState
    reason: str = ""
    changes: tuple[Change, ...] = ()
    processed: Processed | None = None
    send: tuple[Routed, ...] = ()
    same_reports: bool = False
    compared: tuple[DocumentDifference, ...] = ()


def examine(reader: Reader, message_id: int, channel: ChannelRoutes) -> Finding:
    """Map a message again and compare.

    Raises:
        StoreError: the journal cannot be read.
        ConfigError: its key was not found.
    """
    try:
        trace = trace_of(reader, message_id)
        if trace is None:
            return Finding(message_id, "gone")
        if trace.message.state not in ("mapped", "filtered") or trace.edited_as:
            return Finding(message_id, "undelivered")
        if any(delivery.state in OPEN and not _is_refused(delivery) for delivery in trace.deliveries):
            return Finding(message_id, "unsettled")
        processed = process(stored_message(reader, message_id), channel)
        return _compare(reader, trace, processed)
    except ErasedError:
        return Finding(message_id, "gone")
    except IntegrityError:
        return Finding(message_id, "damaged")  # `labrelay verify` reports the damage
    except StoreError:
        if trace_of(reader, message_id) is None:  # it was deleted meanwhile
            return Finding(message_id, "gone")
        raise


def _compare(reader: Reader, trace: Trace, processed: Processed) -> Finding:
    message_id = trace.message.id
    refused = _newest(trace, _is_refused)
    delivered = _newest(trace, _is_delivered)
    before = {**delivered, **refused}
    if processed.state != "mapped":
        reason = processed.reason.value if processed.reason is not None else ""
        if refused:
            return Finding(message_id, "unsettled", reason)
        if processed.state == "dead":
            return Finding(message_id, "dead", reason, compared=_made_no_more("dead", delivered))
        if not delivered:
            return Finding(message_id, "unchanged")
        return Finding(message_id, "withdrawn", reason, compared=_made_no_more("withdrawn", delivered))
    changes: list[Change] = []
    differing: list[DocumentDifference] = []
    send: list[Routed] = []
    made: set[tuple[str, int]] = set()
    superseded = False
    for ordinal, (document, route) in enumerate(processed.documents, start=1):
        body = under(document, route.form, trace.facts.get(ordinal))
        if body is None:  # an echo stays one
            made |= {(destination, ordinal) for destination in route.to}
            send.append(replace(routed_by(route, document), destinations=()))
            continue
        wanted: list[str] = []
        compared: dict[int | None, list[Change]] = {None: [Change("added", DOCUMENT)]}
        told: set[int | None] = set()  # the same document may have gone to several destinations: counted once
        differ: dict[tuple[FindingState, int | None], list[str]] = {}
        for destination in _may_go_to(trace, route.to, ordinal):
            made.add((destination, ordinal))
            old = before.get((destination, ordinal))
            if old is not None and old not in compared:
                compared[old] = differences(stored_document(reader, old), body)
            if not compared[old]:
                continue
            if any(newer(reader, message_id, trace.message.channel, destination, document) for newer in NEWER.each()):
                superseded = True
                differ.setdefault(("superseded", delivered.get((destination, ordinal))), []).append(destination)
                continue
            differ.setdefault(("changed", delivered.get((destination, ordinal))), []).append(destination)
            wanted.append(destination)
            refused.pop((destination, ordinal), None)
            if old not in told:
                told.add(old)
                changes += compared[old]
        differing += [DocumentDifference(outcome, tuple(names), old, body) for (outcome, old), names in differ.items()]
        send.append(replace(routed_by(route, document), destinations=tuple(wanted)))
    if refused:  # sending would close these dead letters without a document in their place
        return Finding(message_id, "unsettled")
    gone = {place: document for place, document in delivered.items() if place not in made}
    if gone:
        changes.append(Change("removed", DOCUMENT))
        differing += _made_no_more("withdrawn", gone)
    if any(routed.destinations for routed in send):
        known = frozenset[Report]().union(*(reports_of(reader, old) for old in set(before.values())))
        same = known.issuperset(report for routed in send for report in routed.document.reports)
        return Finding(message_id, "changed", "", tuple(changes), processed, tuple(send), same, tuple(differing))
    outcome: FindingState = "superseded" if superseded else "withdrawn" if gone else "unchanged"
    return Finding(message_id, outcome, compared=tuple(differing))


def _made_no_more(outcome: FindingState, delivered: dict[tuple[str, int], int]) -> tuple[DocumentDifference, ...]:
    """The delivered documents that today's mapping does not make any more."""
    places: dict[int, list[str]] = {}
    for (destination, _), document in delivered.items():
        places.setdefault(document, []).append(destination)
    return tuple(DocumentDifference(outcome, tuple(names), document, None) for document, names in places.items())


def _is_refused(delivery: DeliveryView) -> bool:
    """Whether its destination has refused the document: another one may be accepted."""
    return delivery.state == "dead" and delivery.cause == ReasonCode.REFUSED.value


def _is_delivered(delivery: DeliveryView) -> bool:
    return delivery.state == "delivered"


def _newest(trace: Trace, which: Callable[[DeliveryView], bool]) -> dict[tuple[str, int], int]:
    """(destination, place of the document in the message) -> the newest document of such deliveries."""
    ordinals = {document.id: document.ordinal for document in trace.documents}
    found: dict[tuple[str, int], int] = {}
    for delivery in trace.deliveries:
        if which(delivery):
            place = delivery.destination, ordinals[delivery.document_id]
            found[place] = max(found.get(place, 0), delivery.document_id)
    return found


def _may_go_to(trace: Trace, routed: Iterable[str], ordinal: int) -> list[str]:
    """The permitted destinations of a document: those that the message went to before, or any if it went nowhere
    (filtered then); without those that a person, or a newer result, has kept it from.
    """
    if not trace.deliveries:
        return list(routed)
    went = {delivery.destination for delivery in trace.deliveries}
    ordinals = {document.id: document.ordinal for document in trace.documents}
    closed = {d.destination for d in trace.deliveries if ordinals[d.document_id] == ordinal}
    closed -= {d.destination for d in trace.deliveries if _is_delivered(d) or _is_refused(d)}
    return [name for name in routed if name in went and name not in closed]


# -- the mapping to use --------------------------------------------------------------------------------------------


def with_mapping(site: Site, channel: ChannelRoutes, mapping: str) -> tuple[ChannelRoutes, Program]:
    """A channel's routes with another mapping in place of the one of that name, or of the only one.

    Args:
        mapping: name, or path of a file.

    Raises:
        ConfigError: it is wrong, or it is unclear which mapping it replaces.
    """
    tables = site.tables_of(site.channels[channel.channel])
    named = Path(mapping) if mapping.endswith((".yaml", ".yml")) else mapping
    program = load(named, site.mapping_path(), tables=tables)
    reads = site.channels[channel.channel].source.reads_as
    if reads not in (program.format, EITHER):
        raise ConfigError(f"{mapping}: it reads {program.format}, and channel {channel.channel} brings {reads}")
    in_use = {route.program.name for route in channel.routes if route.program is not None}
    replaced = {program.name} & in_use or in_use
    if len(replaced) != 1:
        names = ", ".join(sorted(in_use)) or "none"
        raise ConfigError(
            f"{mapping}: channel {channel.channel} uses the mappings {names}; say in mapping: of the file which of "
            "them it replaces"
        )
    routes = tuple(
        _with(route, program) if route.program is not None and route.program.name in replaced else route
        for route in channel.routes
    )
    return replace(channel, routes=routes), program


def _with(route: Route, program: Program) -> Route:
    hold = None if route.hold is None else route.hold.beside(str(program.target), is_own=program.is_own)
    return replace(route, program=program, hold=hold)


# -- many messages -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Group:
    """One kind of change in many messages.

    Attributes:
        messages: number of messages with it. occurrences: in all of them.
        examples: numbers of some. values: (before, after) of some; kept only where a person may see them.
    """

    messages: int = 0
    occurrences: int = 0
    examples: list[int] = field(default_factory=list)
    values: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Tally:
    """Findings summed up, in bounded memory.

    Attributes:
        groups: (kind, path) -> count.
        not_sent: (outcome, reason) -> count, of messages neither changed nor unchanged.
        ungrouped: changes beyond `MAX_GROUPS`.
    """

    keep_values: bool = False
    outcomes: dict[str, int] = field(default_factory=dict)
    groups: dict[tuple[str, str], Group] = field(default_factory=dict)
    not_sent: dict[tuple[str, str], Group] = field(default_factory=dict)
    ungrouped: int = 0

    @property
    def messages(self) -> int:
        return sum(self.outcomes.values())

    @property
    def changed(self) -> int:
        return self.outcomes.get("changed", 0)

    def add(self, finding: Finding) -> None:
        self.outcomes[finding.outcome] = self.outcomes.get(finding.outcome, 0) + 1
        if finding.outcome not in ("changed", "unchanged"):
            self._note(self.not_sent.setdefault((finding.outcome, finding.reason), Group()), finding.message_id, ())
        seen: dict[tuple[str, str], list[Change]] = {}
        for change in finding.changes:
            seen.setdefault((change.kind, change.path), []).append(change)
        for key, changes in seen.items():
            if key not in self.groups and len(self.groups) >= MAX_GROUPS:
                self.ungrouped += len(changes)
            else:
                self._note(self.groups.setdefault(key, Group()), finding.message_id, changes)

    def _note(self, group: Group, message_id: int, changes: Iterable[Change]) -> None:
        group.messages += 1
        if len(group.examples) < EXAMPLES:
            group.examples.append(message_id)
        for change in changes:
            group.occurrences += 1
            pair = _short(change.before), _short(change.after)
            if self.keep_values and len(group.values) < VALUES and pair not in group.values:
                group.values.append(pair)


def _short(value: str) -> str:
    return value if len(value) <= VALUE_LENGTH else f"{value[:VALUE_LENGTH]}... ({len(value)} signs)"
