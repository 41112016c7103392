"""Orders for an analyzer that speaks E1394: its questions, the answers, downloads. Pure.

    analyzer  H|\\^&|||cobas-e411^1|||||host|TSREQ^REAL|P|1     Q|1|^^0000000387^587^0^2^^S1^SC||ALL||||||||A   L|1|N
    we        H|\\^&|||host^1|||||cobas-e411|TSDWN^REPLY|P|1    P|1   O|1|0000000387|587^0^2^^S1^SC|^^^10^1|R|..  L|1|N

An answer has the delimiters of its question; H-5 and H-10 change places. `habits` says what differs between makers,
`orders` reads and writes. Items that cannot be sent are not in the answer, and wait: those without a code,
with a dilution for which the maker has no form, or with a text that cannot be represented.

Source: ASTM E1394-97, records H, P, O, Q and L.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

from adapters.codecs.astm import orders
from adapters.codecs.astm.habits import GENERIC, Habits
from adapters.codecs.astm.orders import OrderWriter
from adapters.codecs.astm.text import components, repetitions
from engine.model.message import Delimiters, Parsed
from engine.model.orders import AnswerContext, Confirmation, Question, Reply, Tube, WorkItem

CHARSET = "utf-8"  # of a download, where the settings of the channel name no ``charset``
TESTS, TEST = 5, 3  # O-5, R-3
LEFT_OUT = ("cancel", "unknown")  # actions of lines that offer nothing; what was held, and released, is offered


def dialogue(dialect: str | None, **own: Any) -> "AstmDialogue | None":
    """The dialogue with analyzers of ``dialect``; without a dialect as E1394 says. None: they send results only.

    Args:
        own: habits of one analyzer that are others than its dialect's, by the names of `Habits`.
    """
    habits: object = GENERIC
    if dialect is not None:
        habits = getattr(import_module(f"adapters.dialects.{dialect.replace('-', '_')}"), "DIALOGUE", None)
    if "test" in own:
        own = {"dilutions": {"": ""}, **own}  # such a form has no place for one
    return AstmDialogue(replace(habits, **own)) if isinstance(habits, Habits) else None


class AstmDialogue:
    """The dialogue (`engine.model.ports.Dialogue`) with one kind of analyzer."""

    def __init__(self, habits: Habits) -> None:
        self.habits = habits
        self.dilutions = frozenset(habits.dilutions)
        self.cancels = habits.cancels
        self.test_alone = habits.test_alone
        self.sending: Mapping[str, Any] = {"pack": habits.pack, "frame_limit": habits.frame_limit}

    def ordered_as(self, parsed: Parsed) -> dict[int, str]:
        """The test of O-5 that R-3 names in the component of `Habits.assay_at`; one that O-5 does not have is none."""
        found: dict[int, str] = {}
        ordered: set[str] = set()
        for segment in parsed.segments if self.habits.assay_at else ():
            if segment.name == "O":
                tests = repetitions(orders.field_of(segment, TESTS), parsed.delimiters)
                ordered = {_component(test, 4, parsed) for test in tests} - {""}
            elif segment.name == "R":
                assay = _component(orders.field_of(segment, TEST), self.habits.assay_at, parsed)
                if assay in ordered:
                    found[segment.position] = assay
            elif segment.name == "P":
                ordered = set()
        return found

    def question(self, parsed: Parsed) -> Question | None:
        return orders.question(parsed, self.habits)

    def answer(self, parsed: Parsed, question: Question, tubes: Sequence[Tube], context: AnswerContext) -> list[Reply]:
        if question.kind == "cancel":
            return []
        writer = OrderWriter(self.habits, context, parsed.delimiters, parsed.charset, parsed)
        apart = question.kind == "specimens" and not self.habits.one_message
        bodies = [
            writer.orders((tube, _offered(tube)) for tube in part)
            or writer.none([tube.asked for tube in part if question.kind == "specimens"])
            for part in ([[tube] for tube in tubes] if apart else [list(tubes)])
        ]
        return [writer.reply(number, body) for number, body in enumerate(bodies, 1)]

    def download(self, tube: Tube, context: AnswerContext) -> list[Reply]:
        writer = self._unasked(context)
        taken_back = [item for item in tube.items if item.line.action == "cancel"]
        bodies = [writer.orders([(tube, taken_back)], cancel=True), writer.orders([(tube, _offered(tube))])]
        return [writer.reply(number, body) for number, body in enumerate((body for body in bodies if body), 1)]

    def fetch(self, specimen: str, since: str, until: str, context: AnswerContext) -> Reply | None:
        """Ask for results that the analyzer keeps. None: it gives none, or the number cannot be sent.

        Args:
            specimen: the number of a tube; empty: all results of a time.
            since, until: ``YYYYMMDDHHMMSS`` in the channel's zone, where no specimen is named.
        """
        if not self.habits.fetches:
            return None
        writer = self._unasked(context)
        body = writer.request(specimen, since, until)
        return None if body is None else writer.reply(1, body, self.habits.fetch_comment)

    def _unasked(self, context: AnswerContext) -> OrderWriter:
        signs = self.habits.delimiters
        delimiters = Delimiters(
            field=signs[0], repetition=signs[1], component=signs[2], escape=signs[3:], subcomponent=""
        )
        return OrderWriter(self.habits, context, delimiters, dict(context.settings).get("charset", CHARSET), None)

    def confirmation(self, parsed: Parsed) -> Confirmation | None:
        """None: E1394 has no field for the number of an item, and no maker here confirms its orders."""
        return None


def _component(field: str, number: int, parsed: Parsed) -> str:
    return next(iter(components(field, parsed.delimiters)[number - 1 : number]), "").strip()


def _offered(tube: Tube) -> list[WorkItem]:
    return [item for item in tube.items if item.line.action not in LEFT_OUT]
