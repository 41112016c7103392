"""Parts of pages of the core: what can be done with a message or a delivery, the last dead letters of an analyzer.

Copy a message as a mapping test, without its patient: for who may see patients, for a purpose that is kept.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from aiohttp import web

from engine.features.rework.pages import aside, edit, replay
from engine.features.rework.pages.dead_letters import EACH, letter_row, once_more
from engine.features.rework.pages.fixes import CONFLICTS, compare, fix
from engine.model.errors import ContentError, UnknownFormatError
from engine.model.journal.journal_views import DeliveryView, Filter, Trace
from engine.model.journal.records import LETTER_STATES
from engine.model.texts.reasons import ReasonCode
from engine.store.queries.letters import dead_letters
from engine.store.queries.reader import Reader, stored_message
from engine.views.mapping_test import mapping_test
from engine.views.view import printable
from engine.web.asked import number
from engine.web.pages.doing import VERB, offers, reveal
from engine.web.pages.frame import Asking, Channels, Frame
from engine.web.pages.messages import PATH as LIST
from engine.web.pages.panels import Link, Panels, Section
from engine.web.pages.words import Words
from engine.web.routes import Route

LETTERS = 5  # the last dead letters


class _Panels(Panels):
    def offers(self, asking: Asking, trace: Trace) -> Iterable[Link]:
        there = {one.state for one in trace.deliveries} | {trace.message.state}
        is_training = trace.message.reason == ReasonCode.NOT_PRODUCTION.value
        verbs = ["retry"] if "dead" in there and not is_training else []
        verbs += ["dismiss"] if there & {*LETTER_STATES} else []
        given = offers(asking, verbs, ids=trace.message.id)
        if {one.cause for one in trace.deliveries if one.state == "dead"} == {ReasonCode.REFUSED.value}:
            given = once_more(asking.words, given)
        others = [*aside.offers(asking, trace.deliveries), *replay.offer(asking, trace)]
        reasons = {trace.message.reason, *(one.cause for one in trace.deliveries if one.state == "dead")}
        compared = [compare(asking.words, trace.message.id)] if "dead" in there and reasons & CONFLICTS else []
        return [*compared, *edit.offer(asking, trace), *given, *others]

    def test_of(self, words: Words, message: int) -> str:
        return address(words, message)

    def offers_of_delivery(self, asking: Asking, one: DeliveryView) -> Iterable[Link]:
        return aside.offers(asking, [one])

    def sections(self, reader: Reader, asking: Asking, channel: str) -> Sequence[Section]:
        found = dead_letters(reader, Filter(channel=channel), limit=LETTERS)
        rows = [
            letter_row(one, asking.words)
            | {"fix": fix(reader, asking, one.reason, (channel,), one.destination, one.message_id)}
            for one in found
        ]
        return [Section("letters_of_analyzer.html", {"rows": rows, "href": asking.words.href(EACH, channel=channel)})]


PANELS = _Panels()


PATH = "/messages/{number}/test"
MOST_BYTES = 256 * 1024  # of a message; tests are short


def routes(frame: Frame) -> Sequence[Route]:
    return frame.forms(PATH, VERB, _copy)


def address(words: Words, message: int) -> str:
    return words.href(PATH.replace("{number}", str(message)))


async def _copy(frame: Frame, request: web.Request) -> web.Response:
    asking = frame.asking(request)
    words, asked = asking.words, number(asking.found["number"])
    form = await frame.desk.form(request)
    read = partial(_read, frame.channels)
    status, trouble, found = await reveal(frame, request, asked, form["purpose"], read, words)
    around = {"number": asked, "back": words.href(f"{LIST}/{asked}"), "trouble": trouble, "test": "", "refused": ""}
    return await frame.desk.page(request, "mapping_test", status, **{**around, **found})


def _read(channels: Channels, reader: Reader, message: int, words: Words) -> Mapping[str, Any]:
    """
    Raises:
        StoreError: the message cannot be read.
    """
    stored = stored_message(reader, message)
    known = channels().get(stored.channel)
    if known is None:
        return {"refused": words.say("Its analyzer is not configured any more.")}
    if len(stored.payload) > MOST_BYTES:
        return {"refused": words.say("It is too large for a test.")}
    try:
        return {"test": mapping_test(stored, known)}
    except (UnknownFormatError, ContentError) as error:
        return {"refused": printable(str(error))}
