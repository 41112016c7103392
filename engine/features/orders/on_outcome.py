"""What an outcome means for the worklist: the orders that it brings, and those that its results are of."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from engine.features.orders import rows as worklist
from engine.features.orders.rows import announcing, holding, naming, reflex
from engine.model.content.order_results import TubeResults
from engine.model.journal.document_facts import NOTHING
from engine.model.journal.records import ORDERED, Routed
from engine.model.message import Issue
from engine.model.packing import unpack
from engine.model.texts.reasons import ReasonCode
from engine.model.worklist import Ordered, answers
from engine.store.core.writing.batch import Batch
from engine.store.operations.recording import Step
from engine.succession import order_names

TWO_ORDERS = Issue(code="TWO_ORDERS", text="orders with different numbers ask for a result: its document names none")


class Orders(Step):
    """The orders of one message."""

    _orders: Sequence[dict[str, Any]] = ()
    _disagree = False
    _named: Sequence[int] = ()
    _meant: frozenset[int] = frozenset()

    def decide(self) -> None:
        """The documents name their orders before their results are compared."""
        now = self.now
        if now.state == "mapped" and now.outcome.tubes:
            self._orders, self._disagree = self._orders_of(now.outcome.tubes)
            now.routes, self._named = _with_orders(now.routes, self._orders)
            if self._orders:
                now.rename = self._rename

    def _rename(self, tubes: Sequence[TubeResults]) -> Sequence[Routed] | None:
        renamed, self._disagree = self._orders_of(tubes)
        if renamed == self._orders:
            return None
        self._orders = renamed
        routes, self._named = _with_orders(self.now.made, renamed)
        return routes

    def _orders_of(self, tubes: Sequence[TubeResults]) -> tuple[list[dict[str, Any]], bool]:
        now = self.now
        again = now.before is not None
        return naming.orders_of(self.batch, now.id, now.channel, tubes, came=now.first, again=again)

    def tell(self) -> None:
        now = self.now
        if now.outcome.ordered is not None:
            self._take(now.outcome.ordered)
        if self._disagree:
            now.issues = (*now.issues, TWO_ORDERS)
        if self._named:
            facts = now.facts or {}
            orders = tuple(self._orders)
            now.facts = facts | {place: replace(facts.get(place, NOTHING), orders=orders) for place in self._named}

    def _take(self, ordered: Ordered) -> None:
        now = self.now
        if now.state != "dead":
            took = worklist.take_orders(self.batch, now.id, now.channel, ordered.lines, ordered.settings)
            now.answers = answers(ordered.lines, took)
            now.note["answers"] = announcing.packed(now.answers)
        if ordered.settings.answers_later and now.before in (None, "dead"):
            worklist.note_answer(self.batch, now.id)

    def stored(self) -> None:
        self.now.marks |= ORDERED * bool(self.now.outcome.tubes)
        if self.now.reason is ReasonCode.QUESTION:
            worklist.explain(self.batch, self.now.id, self.now.channel)

    def queued(self) -> None:
        now = self.now
        if not now.outcome.tubes or now.state != "mapped":
            return
        held = [why is not None and bool(one.destinations) for one, why in zip(now.routes, now.held, strict=True)]
        waits, others_wait = any(held), any(held[: len(now.made)])  # parts of documents are behind those
        meant: set[int] = set()
        controls = {one.number for one in now.outcome.controls}
        for tube in now.tubes:
            apart = [one for one in tube.tests if {one.code, one.test} & now.waiting]
            others = [one for one in tube.tests if one not in apart]
            for tests, is_held in ((others, others_wait if now.waiting else waits), (apart, waits)):
                about = worklist.result(
                    self.batch, now.id, now.channel, tube.specimen, tube.patient_number, tests,
                    frozenset(tube.groups), edited_from=now.first if now.is_edit else None,
                    control=tube.specimen in controls, redundant=tube.redundant, held=is_held,
                    again=now.before is not None,
                )  # fmt: skip
                meant.update(item for item, _ in about)
        self._meant = frozenset(meant)

    def ended(self) -> None:
        now = self.now
        if now.state == "mapped" and self._meant:
            reflex.follow(self.batch, now, self._meant)
        if now.before is not None and (now.state == "mapped" or holding.standing(self.batch, now.id) != "on its way"):
            holding.gone_from(self.batch, now.id, self._meant)


def moved(batch: Batch, message_id: int) -> None:
    """A person, or a newer result, has decided about a delivery of this message."""
    holding.moved(batch, message_id)
    reflex.moved(batch, message_id)


def _with_orders(routes: Sequence[Routed], orders: Sequence[dict[str, Any]]) -> tuple[Sequence[Routed], Sequence[int]]:
    """The documents, naming the orders of their results; and the places of those that do, from 1."""
    if not orders:
        return routes, ()
    changed: list[Routed] = []
    named: list[int] = []
    for place, routed in enumerate(routes, start=1):
        document = routed.document
        body = unpack(document.body) if document.packed else document.body
        made = order_names.with_orders(body, document.media_type, orders) if document.reports else body
        if made != body:
            named.append(place)
            routed = replace(routed, document=replace(document, body=made, packed=False))
        changed.append(routed)
    return changed, named
