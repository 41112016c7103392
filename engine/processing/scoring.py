"""The numbers of other programs that hold rules ask for (`score:`), before their results are judged.

A message of such a channel is processed aside: its channel goes on when its programs have answered, at most `WITHIN_S`
later; others do not wait for it. Its ACK was sent long before. A program that failed is not asked for `RESTS_S`.

A number may hold a result and releases none. Where a program gave none the result goes on, and its message has the
warning NO_SCORE. Where it was not asked at all, as when a message is mapped again by a person's act, its rule cannot be
decided, and holds.

What is sent of each result: codes, value, unit, flags, status, reference range, dilution; sex and age of the patient in
days; which tube of the message. No name and no number of a person, a specimen or an order.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Protocol

import orjson

from engine.model.content.results import Result, age_days
from engine.model.errors import LabRelayError
from engine.model.message import Document, Issue, Stored
from engine.model.routes import ChannelRoutes, Holding, Processed, Route
from engine.processing.intake import LargeMessageProcessor
from engine.processing.process import process

logger = logging.getLogger("labrelay.processing")

WITHIN_S, RESTS_S = 2.0, 30.0
LONGEST = 60  # characters of a version
Ask = Callable[[str, bytes, float], Awaitable[bytes]]
Numbers = tuple[str, list[str | None]]  # version, and a number for each result


class Channels(Protocol):
    def __call__(self, name: str) -> ChannelRoutes | None: ...


class Scoring:
    """Processes messages whose rules ask other programs; large ones go on to ``large``."""

    def __init__(self, large: LargeMessageProcessor, channels: Channels, ask: Ask) -> None:
        self._large = large
        self._channels = channels
        self._ask = ask
        self._tasks: set[asyncio.Task[None]] = set()
        self._rests: dict[str, float] = {}

    def takes(self, stored: Stored) -> bool:
        return self._large.takes(stored) or (
            (channel := self._channels(stored.channel)) is not None
            and any(one.hold is not None and one.hold.scored for one in channel.routes)
        )

    def ask(self, stored: Stored, channel: ChannelRoutes, answer: Callable[[Processed], None]) -> None:
        def processed(outcome: Processed) -> None:
            if not any(_asks(route) for one in _all(outcome) for _, route in one.documents):
                answer(outcome)
                return
            task = asyncio.create_task(self._answer(stored, outcome, answer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        if self._large.takes(stored):
            self._large.ask(stored, channel, processed)
        else:
            processed(process(stored, channel))

    def forget(self) -> None:
        self._large.forget()
        self.close()

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()

    async def _answer(self, stored: Stored, outcome: Processed, answer: Callable[[Processed], None]) -> None:
        try:
            outcome = await self._scored(outcome, stored.received_us)
        except Exception:  # P7: its rules hold what was not asked about
            logger.exception("asking for scores failed inside LabRelay", extra={"journal_id": stored.id})
        answer(outcome)

    async def _scored(self, outcome: Processed, now_us: int) -> Processed:
        found = await asyncio.gather(*(self._document(one, route, now_us) for one, route in outcome.documents))
        documents = tuple((one, route) for (one, _), (_, route) in zip(found, outcome.documents, strict=True))
        issues = dict.fromkeys(issue for _, told in found for issue in told)
        scored = replace(outcome, documents=documents, issues=(*outcome.issues, *issues))
        if outcome.doubted is not None:
            numbers, other = outcome.doubted
            scored = replace(scored, doubted=(numbers, await self._scored(other, now_us)))
        return scored

    async def _document(self, document: Document, route: Route, now_us: int) -> tuple[Document, list[Issue]]:
        hold = route.hold
        if hold is None or not hold.scored or not (results := hold.asked(document.facts)):
            return document, []
        answers = await asyncio.gather(*(self._number(rule, url, results, now_us) for rule, url in hold.scored))
        scores = {rule: one[0] for (rule, _), one in zip(hold.scored, answers, strict=True)}
        told = [(rule, why) for (rule, _), (_, why) in zip(hold.scored, answers, strict=True) if why]
        issues = [Issue(code="NO_SCORE", text=f"the rule {rule} has no number: {why}") for rule, why in told]
        return replace(document, facts=with_scores(document.facts, scores)), issues

    async def _number(self, rule: str, url: str, results: list[Result], now_us: int) -> tuple[Numbers | None, str]:
        """The numbers of a rule, and why one is missing."""
        now = asyncio.get_running_loop().time()
        if self._rests.get(url, 0.0) > now:
            return None, "its program failed a moment ago"
        try:
            async with asyncio.timeout(WITHIN_S):
                body = await self._ask(url, question(rule, results, now_us), WITHIN_S)
            version, numbers = answer_in(body, len(results))
        except (LabRelayError, TimeoutError, ValueError) as error:
            self._rests[url] = asyncio.get_running_loop().time() + RESTS_S
            late = f"no answer within {WITHIN_S:g} s"
            return None, "its answer is no score" if isinstance(error, ValueError) else str(error) or late
        return (version, numbers), "its program gave none for a result" if None in numbers else ""


def _asks(route: Route) -> bool:
    hold: Holding | None = route.hold
    return hold is not None and bool(hold.scored)


def _all(outcome: Processed) -> list[Processed]:
    return [outcome] if outcome.doubted is None else [outcome, outcome.doubted[1]]


def question(rule: str, results: list[Result], now_us: int) -> bytes:
    """What a program is asked about."""
    told = [
        {
            "codes": [{"system": system, "code": code} for system, code in one.codes],
            "value": one.value, "comparator": one.comparator, "text": one.text, "units": one.units, "flags": one.flags,
            "status": one.status, "low": one.low, "high": one.high, "dilution": one.dilution, "sex": one.sex,
            "age_days": age_days(one, now_us), "tube": one.tube,
        }
        for one in results
    ]  # fmt: skip
    return orjson.dumps({"rule": rule, "results": told}, default=str)


def answer_in(body: bytes, count: int) -> Numbers:
    """``{"version": "m7", "scores": [0.97, null]}``: a number, or null, for each result.

    Raises:
        ValueError: it is something else.
    """
    said = orjson.loads(body)
    version, scores = (said.get("version"), said.get("scores")) if isinstance(said, dict) else (None, None)
    if not isinstance(version, str) or not 0 < len(version) <= LONGEST or not version.isprintable():
        raise ValueError("version")
    if not isinstance(scores, list) or len(scores) != count:
        raise ValueError("scores")
    if not all(one is None or (isinstance(one, int | float) and not isinstance(one, bool)) for one in scores):
        raise ValueError("scores")
    return version, [None if one is None else f"{Decimal(str(one)):f}" for one in scores]


def with_scores(facts: bytes, scores: dict[str, Numbers | None]) -> bytes:
    """The facts of a document with what its programs said; null: they were asked, and said nothing."""
    return orjson.dumps({**orjson.loads(facts), "scores": scores})
