"""The judge of orders can fail: an end at which something is wrong is caught, by the invariant that names it."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.histories import orders_model
from tests.histories.history import PANEL, Asking, Rest, Send
from tests.histories.laboratory import Laboratory
from tests.histories.orders_model import HELD_RESULT, INVARIANTS, OLD_RESULT, judge
from tests.histories.render import here
from tests.histories.seen import Delivery, Kept, Logged, News, Reply, Row, Seen, SeenOrders
from tests.histories.two_way import reply_in

PLACE = 3


@dataclass
class Scene:
    """A LIS, two analyzers, a patient, a tube; what was found, at first as it should be."""

    lab: Laboratory = field(default_factory=lambda: Laboratory(random.Random(1)))
    said: dict[int, tuple[str, ...]] = field(default_factory=dict)
    replies: list[tuple[int, Reply]] = field(default_factory=list)
    items: list[Kept] = field(default_factory=list)
    log: list[Logged] = field(default_factory=list)
    news: list[News] = field(default_factory=list)
    held: bool = False
    calm: bool = True

    def __post_init__(self) -> None:
        self.chem = self.lab.channel("astm", control="counts", asks="query", tests=("GLU", "UREA"))
        self.other = self.lab.channel("astm", control="counts", asks="query", tests=("GLU",))
        self.lis = self.lab.channel("lis", serves=(self.chem, self.other))
        self.anu, self.ravi = self.lab.person("MR1", "DAS^ANU"), self.lab.person("MR2", "PAUL^RAVI")
        self.tube = self.lab.order()

    def order(
        self, control: str = "NW", test: str = "GLU", *, said: str = "OK", placer: str = "1", **more: Any
    ) -> None:
        person = more.pop("person", self.anu)
        self.lab.ask_for(self.lis, person, self.tube.number, (control, placer, test), **more)
        self.said[self._last] = (said,)

    def there(self, state: str, reason: str = "", *, test: str = "GLU", placer: str = "1", **more: Any) -> None:
        """On the worklist. A result has told its laboratory system."""
        number = len(self.items) + 1
        self.items.append(
            Kept(**{
                "number": number, "lis": self.lis, "placer": placer, "test": f"L-{test}", "named": f"L-{test}",
                "tube": here(self.tube.number, PLACE), "patient": self.anu.number, "state": state, "reason": reason,
                **more,
            })
        )  # fmt: skip
        if state == "resulted" and "named" not in more:
            self.news.append(
                News(control=f"W{number}.3", order="SC", placer=placer, status="CM", test=f"L-{test}")
            )  # fmt: skip

    def speaks_law(self) -> None:
        """The first analyzer, over HL7, and says whether it takes an order."""
        self.lab.channels[self.chem] = replace(self.lab.channels[self.chem], protocol="hl7", speaks="law")

    def panel(self, *states: str) -> None:
        for test, state in zip(PANEL[1], states, strict=True):
            self.there(state, test=test, named=PANEL[0])

    def complete(self, test: str = PANEL[0]) -> None:
        """The laboratory system hears so."""
        self.news.append(News(control="W9.9", order="SC", placer="1", status="CM", test=test))

    def ask(self, *tests: str, none: tuple[str, ...] = (), channel: int | None = None, **more: Any) -> None:
        """And the answer: all of it, and in the log as it was."""
        at = self.chem if channel is None else channel
        cut = more.pop("cut", None)
        self.lab.ask(at, self.tube.number, cut=cut)
        tube = here(self.tube.number, PLACE)
        reply = Reply(**{
            "step": self._last, "asking": self._last, "orders": tuple((tube, test) for test in tests),
            "whole": cut is None, **more,
        })  # fmt: skip
        self.replies.append((at, reply))
        numbers = tuple(n for n, one in enumerate(self.items, 1) if one.test.removeprefix("L-") in tests)
        self.log.append(Logged(asking=self._last, items=numbers, ended=True, outcome="sent", none=none))

    def take_back(self, test: str, step: str) -> None:
        back = ((here(self.tube.number, PLACE), test),)
        reply = Reply(step=self._last, asking=-1, orders=(), back=back, steps=(step,), whole=False)
        self.replies.append((self.chem, reply))

    def measure(self, test: str = "GLU", status: str = "F", *, at: int | None = None) -> None:
        self.lab.say(self.chem, self.anu, self.tube, (test, status), at=at)

    @property
    def _last(self) -> int:
        return self.lab._steps - 1

    def broken(self) -> set[str]:
        history = self.lab.history("test")
        sends = [step for step in history.steps if isinstance(step, Send)]
        state = "held" if self.held else "delivered"
        rows = tuple(
            Row(send=one.id, number=one.id, state="mapped", reason="", deliveries=(
                Delivery(state=state, cause="", made=()),)) for one in sends
        )  # fmt: skip
        orders = SeenOrders(
            said=self.said, items=tuple(self.items), log=tuple(self.log), news={self.lis: tuple(self.news)},
            replies={
                channel: tuple(reply for at, reply in self.replies if at == channel)
                for channel in (self.chem, self.other)
            },
            asked=tuple(step.id for step in history.steps if isinstance(step, Asking)),
            told={self.lis: tuple(one.control for one in self.news)},
        )  # fmt: skip
        seen = Seen(answered=frozenset(one.id for one in sends), rows=rows, observations={}, orders=orders)
        return {fault.invariant for fault in judge(history, seen, PLACE, calm=self.calm)}


Case = Callable[[Scene], object]


def many(*steps: object) -> None:
    """All of them have been done by now."""


WELL: dict[str, Case] = {
    "ordered": lambda at: many(at.order(), at.there("waiting")),
    "given": lambda at: many(at.order(), at.there("offered"), at.ask("GLU")),
    "given, perhaps": lambda at: many(
        at.order(), at.there("waiting", "MAYBE_KNOWN"), at.ask("GLU", cut=2), at.ask("GLU")
    ),
    "measured": lambda at: many(at.order(), at.there("resulted"), at.ask("GLU"), at.measure()),
    "a panel, one of two measured": lambda at: many(
        at.order(test="PANEL"), at.panel("resulted", "offered"), at.ask("GLU", "UREA"), at.measure()
    ),
    "a panel, all of it measured": lambda at: many(
        at.order(test="PANEL"), at.panel("resulted", "resulted"), at.ask("GLU", "UREA"), at.measure(),
        at.measure("UREA"), at.complete(),
    ),
    "its result is held": lambda at: many(
        at.order(), at.there("in_progress", "RESULT_HELD"), at.ask("GLU"), at.measure(), setattr(at, "held", True)
    ),
    "begun": lambda at: many(at.order(), at.there("in_progress"), at.ask("GLU"), at.measure(status="P")),
    "measured and asked for again": lambda at: many(
        at.order(), at.there("resulted"), at.ask("GLU"), at.measure(), at.lab.rest(), at.ask(none=("done",))
    ),
    "cancelled": lambda at: many(at.order(), at.order("CA", said="CR"), at.there("cancelled"), at.ask(none=("done",))),
    "cancelled at the analyzer": lambda at: many(
        at.order(), at.there("cancel_pending"), at.ask("GLU"), at.order("CA", said="CR")
    ),
    "cancelled, and measured all the same": lambda at: many(
        at.order(), at.there("resulted"), at.ask("GLU"), at.order("CA", said="CR"), at.measure()
    ),
    "replaced": lambda at: many(
        at.order(), at.order("XO", said="XR", stat=True), at.there("superseded"), at.there("waiting")
    ),
    "replaced, beside another order for the test": lambda at: many(
        at.order(), at.order(placer="2"), at.there("cancel_pending"), at.there("offered", placer="2"),
        at.there("waiting", "AFTER_CANCEL"), at.ask("GLU"), at.order("XO", said="XR", stat=True), at.ask("GLU"),
    ),
    "replaced, and free since the analyzer has measured the version before": lambda at: many(
        at.order(), at.order(placer="2"), at.there("resulted"), at.there("offered", placer="2"), at.there("waiting"),
        at.ask("GLU"), at.order("XO", said="XR", stat=True), at.ask("GLU"), at.measure(),
    ),
    "cancelled, while its result waits for a person": lambda at: many(
        at.order(), at.there("cancel_pending", "RESULT_HELD"), at.ask("GLU"), at.measure(),
        at.order("CA", said="CR"), setattr(at, "held", True),
    ),
    "held": lambda at: many(at.order(), at.order("HD", said="HR"), at.there("held", "HELD_BY_LIS")),
    "two contents": lambda at: many(
        at.order(), at.order(said="UA", stat=True), at.there("waiting"), at.there("held", "ORDER_CONFLICT")
    ),
    "two patients": lambda at: many(
        at.order(), at.order(said="UA", person=at.ravi, placer="2"), at.ask(none=("conflict",)),
        at.there("held", "SPECIMEN_CONFLICT"),
        at.there("held", "SPECIMEN_CONFLICT", placer="2", patient="MR2"),
    ),
    "accepted": lambda at: many(at.speaks_law(), at.order(), at.there("accepted"), at.ask("GLU", steps=("W1",))),
    "one test of two orders, as two work steps": lambda at: many(
        at.speaks_law(), at.order(), at.order(placer="2"), at.there("accepted"), at.there("accepted", placer="2"),
        at.ask("GLU", "GLU", steps=("W1", "W2")),
    ),
    "taken back": lambda at: many(
        at.speaks_law(), at.order(), at.there("cancelled"), at.ask("GLU", steps=("W1",)), at.order("CA", said="CR"),
        at.take_back("GLU", "W1"),
    ),
    "no analyzer has a code": lambda at: many(at.order(test="LACT", said="UA"), at.there("rejected", test="LACT")),
}  # fmt: skip
WRONG: dict[str, tuple[str, Case]] = {
    "a test that was not ordered": (
        "STRANGER", lambda at: many(at.order(), at.there("offered"), at.ask("GLU", "UREA")),
    ),
    "the orders of another tube": (
        "STRANGER",
        lambda at: many(at.order(), at.there("offered"), at.ask("GLU", orders=((f"{PLACE + 12:03d}01", "GLU"),))),
    ),
    "the orders of two patients": (
        "STRANGER",
        lambda at: many(
            at.order(), at.order(said="UA", person=at.ravi, placer="2"), at.there("held", "SPECIMEN_CONFLICT"),
            at.there("held", "SPECIMEN_CONFLICT", placer="2", patient="MR2"), at.ask("GLU"),
        ),
    ),
    "unasked, and never ordered": (
        "STRANGER", lambda at: many(at.order(), at.there("offered"), at.ask("UREA", asking=-1)),
    ),
    "a work step of another test": (
        "STRANGER",
        lambda at: many(
            at.speaks_law(), at.order(), at.order(test="UREA"), at.there("accepted"),
            at.there("accepted", test="UREA"), at.ask("GLU", "UREA", steps=("W2", "W1")),
        ),
    ),
    "taken back, and not cancelled": (
        "STRANGER",
        lambda at: many(
            at.speaks_law(), at.order(), at.there("accepted"), at.ask("GLU", steps=("W1",)), at.take_back("GLU", "W1")
        ),
    ),
    "one work step twice": (
        "TWICE",
        lambda at: many(
            at.speaks_law(), at.order(), at.there("accepted"), at.ask("GLU", "GLU", steps=("W1", "W1")),
        ),
    ),
    "accepted by an analyzer that says nothing": (
        "STATE", lambda at: many(at.order(), at.there("accepted"), at.ask("GLU")),
    ),
    "cancelled before the question": (
        "STALE", lambda at: many(at.order(), at.order("CA", said="CR"), at.there("cancelled"), at.ask("GLU")),
    ),
    "on hold": (
        "STALE",
        lambda at: many(at.order(), at.order("HD", said="HR"), at.there("held", "HELD_BY_LIS"), at.ask("GLU")),
    ),
    "measured before the question": (
        "STALE",
        lambda at: many(at.order(), at.there("resulted"), at.ask("GLU"), at.measure(), at.lab.rest(), at.ask("GLU")),
    ),
    "left out": ("OMITTED", lambda at: many(at.order(), at.there("waiting"), at.ask(none=("unknown",)))),
    "one of two left out": (
        "OMITTED",
        lambda at: many(
            at.order(), at.order(test="UREA"), at.there("offered"), at.there("waiting", test="UREA"), at.ask("GLU")
        ),
    ),
    "twice in a reply": ("TWICE", lambda at: many(at.order(), at.there("offered"), at.ask("GLU", "GLU"))),
    "a plain order is refused": ("ANSWER", lambda at: many(at.order(said="UA"), at.there("waiting"))),
    "the order of another patient is taken": (
        "ANSWER",
        lambda at: many(
            at.order(), at.order(person=at.ravi, placer="2"), at.there("waiting"),
            at.there("waiting", placer="2", patient="MR2"),
        ),
    ),
    "a cancel is refused without cause": (
        "ANSWER", lambda at: many(at.order(), at.order("CA", said="UC"), at.there("waiting")),
    ),
    "an unknown test is taken": ("ANSWER", lambda at: at.order(test="LACT")),
    "an order is lost": ("ORDERS", lambda at: at.order()),
    "an order is doubled": ("ORDERS", lambda at: many(at.order(), at.there("waiting"), at.there("waiting"))),
    "an order has another patient": ("ORDERS", lambda at: many(at.order(), at.there("waiting", patient="MR2"))),
    "a line that can never run is not shown": ("ORDERS", lambda at: at.order(test="LACT", said="UA")),
    "cancelled, and open": ("STATE", lambda at: many(at.order(), at.order("CA", said="CR"), at.there("waiting"))),
    "measured, and open": (
        "STATE", lambda at: many(at.order(), at.there("offered"), at.ask("GLU"), at.measure()),
    ),
    "closed by the result of another test": (
        "STATE", lambda at: many(at.order(), at.there("resulted"), at.ask("GLU"), at.measure("UREA")),
    ),
    "closed by a result from before": ("STATE", lambda at: many(at.measure(), at.order(), at.there("resulted"))),
    "closed by a preliminary result": (
        "STATE", lambda at: many(at.order(), at.there("resulted"), at.ask("GLU"), at.measure(status="P")),
    ),
    "held without cause": ("STATE", lambda at: many(at.order(), at.there("held", "SPECIMEN_CONFLICT"))),
    "given, and waits unmarked": ("REASON", lambda at: many(at.order(), at.there("waiting"), at.ask("GLU"))),
    "given, and waits for the version before": (
        "REASON",
        lambda at: many(
            at.order(), at.there("cancel_pending"), at.there("waiting", "AFTER_CANCEL"), at.ask("GLU"),
            at.order("XO", said="XR", stat=True), at.ask("GLU"),
        ),
    ),
    "a question is in no log": (
        "LOGGED", lambda at: many(at.order(), at.there("offered"), at.ask("GLU"), at.log.clear()),
    ),
    "the log has another answer": (
        "LOGGED",
        lambda at: many(
            at.order(), at.there("offered"), at.ask("GLU"), at.log.append(replace(at.log.pop(), items=()))
        ),
    ),
    "a question says nothing": (
        "LOGGED",
        lambda at: many(
            at.order(), at.there("offered"), at.ask("GLU"), at.log.append(replace(at.log[0], outcome="", items=()))
        ),
    ),
    "a result is not told": (
        "NEWS",
        lambda at: many(at.order(), at.there("resulted"), at.ask("GLU"), at.measure(), at.news.clear()),
    ),
    "a panel is told complete with its first result": (
        "NEWS",
        lambda at: many(
            at.order(test="PANEL"), at.panel("resulted", "offered"), at.ask("GLU", "UREA"), at.measure(), at.complete()
        ),
    ),
    "a panel is complete, and is not told so": (
        "NEWS",
        lambda at: many(
            at.order(test="PANEL"), at.panel("resulted", "resulted"), at.ask("GLU", "UREA"), at.measure(),
            at.measure("UREA"),
        ),
    ),
    "a panel is told complete by the name of one test": (
        "NEWS",
        lambda at: many(
            at.order(test="PANEL"), at.panel("resulted", "resulted"), at.ask("GLU", "UREA"), at.measure(),
            at.measure("UREA"), at.complete("L-GLU"),
        ),
    ),
    "an order without a result says that one is held": (
        "STATE", lambda at: many(at.order(), at.there("in_progress", "RESULT_HELD"), at.ask("GLU"))
    ),
    "a result is told twice": (
        "NEWS",
        lambda at: many(at.order(), at.there("resulted"), at.ask("GLU"), at.measure(), at.news.append(at.news[0])),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WELL)
def test_what_is_well_passes(name: str) -> None:
    scene = Scene()
    WELL[name](scene)
    assert scene.broken() == set()


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_caught_by_its_invariant(name: str) -> None:
    invariant, case = WRONG[name]
    scene = Scene()
    case(scene)
    assert invariant in scene.broken()


def test_each_invariant_has_an_end_that_breaks_it() -> None:
    assert {invariant for invariant, _ in WRONG.values()} == set(INVARIANTS)


@pytest.mark.parametrize("demand", [OLD_RESULT, HELD_RESULT])
def test_what_is_awaited_is_caught_once_it_is_demanded(demand: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An order that was closed by a result from long before it, or by one that is held."""
    scene = Scene(held=demand == HELD_RESULT)
    scene.order()
    scene.there("resulted")
    scene.measure(at=-600 if demand == OLD_RESULT else None)
    monkeypatch.setattr(orders_model, "DEMANDED", frozenset())
    assert scene.broken() == set()
    monkeypatch.setattr(orders_model, "DEMANDED", frozenset({demand}))
    assert scene.broken() == {"STATE"}


def test_a_reply_is_read_as_far_as_it_has_come() -> None:
    text = b"H|\\^&|Q7||LIS\rP|1\rO|1|00042||^^^GLU\\^^^NA|R||||||N||||||||||||||Q\r"
    began = reply_in(text, 5, 4)
    assert began is not None
    assert (began.asking, began.orders, began.whole) == (4, (("00042", "GLU"), ("00042", "NA")), False)
    unasked = reply_in(text.replace(b"Q7", b"W7").replace(b"||N|", b"||C|") + b"L|1|N\r", 5, 4)
    assert unasked is not None
    assert (unasked.asking, unasked.orders, len(unasked.back), unasked.whole) == (-1, (), 2, True)
    assert reply_in(b"", 5, 4) is None


def test_a_rest_is_no_message() -> None:
    lab = Laboratory(random.Random(1))
    lab.rest()
    assert lab.history("test").steps == (Rest(id=0),)
    assert lab.history("test").sends == ()
