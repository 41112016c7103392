"""A look at the messages of a channel for results that today's mapping makes differently, a step at a time.

A step takes a second at most, from the newest message to the oldest, so a person who goes away costs nothing more. What
is kept between steps is bounded: counts by test, a few results, and the numbers of the messages to send again.

The affected results of messages that are mapped again: one row each, with the delivered and the new value.

After an error in a mapping, a laboratory uses this list to inform the wards which results to check again. The documents
that `engine.processing.reprocessing` found to differ are compared result by result. So that the list is complete, some
rows have no test: for a message that cannot be compared, and for a document that differs in something other than a
result, or without readable results (`engine.model.content.tested_results`).
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, NamedTuple

from engine.actions.selection import Selection
from engine.features.rework.lists.affected import Affected
from engine.model.content.search_keys import folded
from engine.model.content.tested_results import TestedResult, tests_in
from engine.model.errors import ErasedError, IntegrityError
from engine.model.routes import ChannelRoutes
from engine.processing.reprocessing import DocumentDifference, Finding, Group, Tally, examine
from engine.store.queries.messages import each_message
from engine.store.queries.reader import Reader, stored_document

TOLD = ("patient", "specimen", "code", "loinc", "value", "unit", "status")


def affected(reader: Reader, finding: Finding) -> Iterator[Affected]:
    """The differing results of one message, in the order of its documents.

    Raises:
        StoreError: the journal cannot be read.
        ConfigError: its key was not found.
    """
    if finding.outcome == "unchanged":
        return
    if not finding.compared:
        yield Affected(message_id=finding.message_id, outcome=finding.outcome, reason=finding.reason)
    for one in finding.compared:
        yield from _of_document(reader, finding, one)


def _of_document(reader: Reader, finding: Finding, compared: DocumentDifference) -> Iterator[Affected]:
    def row(
        change: Literal["changed", "added", "removed", ""] = "",
        differs: tuple[str, ...] = (),
        old: TestedResult | None = None,
        new: TestedResult | None = None,
    ) -> Affected:
        return Affected(
            message_id=finding.message_id,
            outcome=compared.outcome,
            reason=finding.reason,
            destinations=compared.destinations,
            change=change,
            differs=differs,
            old=old,
            new=new,
        )

    before: dict[str, TestedResult] = {}
    after: dict[str, TestedResult] = {}
    if compared.before is not None:
        try:
            before = _results(reader, stored_document(reader, compared.before))
        except (ErasedError, IntegrityError):  # it was erased, or `labrelay verify` reports the damage
            yield row()
            return
    if compared.after is not None:
        after = _results(reader, compared.after)
    count = 0
    for key in [*before, *(key for key in after if key not in before)]:
        old, new = before.get(key), after.get(key)
        if old is None or new is None:
            yield row("added" if old is None else "removed", (), old, new)
        elif differs := tuple(name for name in TOLD if getattr(old, name) != getattr(new, name)):
            yield row("changed", differs, old, new)
        elif old.rest != new.rest:
            yield row("changed", ("other",), old, new)
        else:
            continue
        count += 1
    if not count:
        yield row()


def _results(reader: Reader, document: bytes) -> dict[str, TestedResult]:
    def token(number: str) -> str:
        return reader.vault.search_token("patient", folded(number)).hex()

    return {one.key: one for one in tests_in(document, token)}


STEP_S = 1.0
AT_ONCE = 50  # messages of a page
MOST_TESTS = 500
MOST_SHOWN = 200  # results that are kept
MOST_MESSAGES = 2000  # that are chosen by a code, and sent again by their numbers
EXAMPLES = 3


class Kind(NamedTuple):
    """A kind of difference; codes are no patient data."""

    code: str
    before: str
    now: str
    differs: tuple[str, ...]
    outcome: str


@dataclass(slots=True)
class Look:
    """What was found so far.

    Attributes:
        selection: of one channel, and with an end.
        code: only results under this code of a test, or LOINC; empty: all.
        routes: in force when it began; config: the first digits of the hash of that configuration.
        before: the oldest message that was looked at; None: none yet.
        shown: some results, the newest first.
        chosen: with a code, the messages that would be sent again and have such a result.
    """

    selection: Selection
    code: str
    routes: ChannelRoutes
    config: str
    before: int | None = None
    ended: bool = False
    tally: Tally = field(default_factory=Tally)
    results: int = 0
    kinds: dict[Kind, Group] = field(default_factory=dict)
    shown: list[Affected] = field(default_factory=list)
    chosen: set[int] = field(default_factory=set)

    @property
    def too_many(self) -> bool:
        """Whether more messages were chosen by a code than can be sent again by their numbers."""
        return len(self.chosen) > MOST_MESSAGES

    @property
    def count(self) -> int:
        """How many messages would be sent again."""
        return len(self.chosen) if self.code else self.tally.changed

    def to_send(self) -> Selection:
        """The messages to send again."""
        ids = tuple(sorted(self.chosen)) if self.code else ()
        return Selection.from_json({**self.selection.to_json(), "ids": ids})


def step(reader: Reader, look: Look, within_s: float = STEP_S) -> None:
    """Go on for so many seconds, at least by one message.

    Raises:
        StoreError: the journal cannot be read; what was found so far stays.
        ConfigError: its key was not found.
    """
    until = time.monotonic() + within_s
    for number in _numbers(reader, look):
        _look_at(reader, look, number)
        look.before = number
        if time.monotonic() >= until:
            return
    look.ended = True


def rows(reader: Reader, look: Look, before: int | None, at_once: int = AT_ONCE) -> tuple[list[Affected], int | None]:
    """The results of some messages, found anew, and the oldest of these; None where there is no older one.

    Args:
        before: messages with a lower number; None: from the newest on.
    """
    wanted, last = look.selection.filter(), None
    found: list[Affected] = []
    for view in islice(each_message(reader, wanted, before_id=before, at_once=at_once), at_once):
        last = view.id
        found += _of(reader, look, examine(reader, view.id, look.routes))
    return found, last


def _numbers(reader: Reader, look: Look) -> Iterator[int]:
    wanted = look.selection.filter()
    return (view.id for view in each_message(reader, wanted, before_id=look.before, at_once=AT_ONCE))


def _of(reader: Reader, look: Look, finding: Finding) -> list[Affected]:
    return [one for one in affected(reader, finding) if _fits(one, look.code)]


def _fits(one: Affected, code: str) -> bool:
    return not code or any(told is not None and code in (*told.codes, told.loinc) for told in (one.old, one.new))


def _look_at(reader: Reader, look: Look, number: int) -> None:
    finding = examine(reader, number, look.routes)
    look.tally.add(finding)
    found = _of(reader, look, finding)
    if look.code and found and finding.outcome == "changed" and not look.too_many:
        look.chosen.add(number)
    look.results += len(found)
    look.shown += found[: MOST_SHOWN - len(look.shown)]
    seen: set[Kind] = set()
    for one in found:
        kind = _kind(one)
        if kind in look.kinds or len(look.kinds) < MOST_TESTS:
            group = look.kinds.setdefault(kind, Group())
            group.occurrences += 1
            if kind not in seen:
                seen.add(kind)
                group.messages += 1
                group.examples += [number] * (len(group.examples) < EXAMPLES)


def _kind(one: Affected) -> Kind:
    told = one.new or one.old
    before, now = (told_.loinc if told_ is not None else "" for told_ in (one.old, one.new))
    return Kind(told.code if told is not None else "", before, now, one.differs or (one.change,), one.outcome)
