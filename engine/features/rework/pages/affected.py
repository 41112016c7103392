"""Results that a change of a mapping or a code table affects: found, listed, and sent again where they differ.

The address has the filter. Each time the page is drawn it looks for a second, and draws itself again until all messages
were looked at: closing it ends the work. A few looks are kept in memory, with no value of a patient but in the first
results, which are shown for a purpose that the audit trail has first.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiohttp import hdrs, web

from engine.actions.selection import Selection
from engine.actions.underway import DEFAULT_RATE
from engine.features.rework.acts.affected_look import MOST_MESSAGES, MOST_SHOWN, Look, rows, step
from engine.features.rework.lists.affected import HEADING, csv_line, row_of
from engine.model.errors import AbsentError, LabRelayError, RefusedError, StoreError
from engine.model.texts.phrases import N_, PageText, Said
from engine.views.view import cell
from engine.web.asked import Asked
from engine.web.forms import Form
from engine.web.pages.doing import GONE, OPERATIONS
from engine.web.pages.filters import moments, page_of
from engine.web.pages.frame import Asking, Frame
from engine.web.pages.messages import PATH as MESSAGES
from engine.web.pages.words import Words, grouped, shown
from engine.web.routes import Route

PATH, CSV, RESULTS = "/affected", "/affected.csv", "/affected/results"
VERB, EXPORT = "reprocess", "exported"
NO_CHANNEL = N_("there is no channel {name}")
NAMES = ("channel", "test", "since", "until")
SINCE = "7d"  # unless the address says otherwise
KEPT = 8  # looks
OUTCOMES: dict[str, PageText] = {
    "changed": "would be sent again",
    "unchanged": "the same as before",
    "superseded": "a newer result was delivered: nothing is sent",
    "withdrawn": "nothing would be sent now; delivered documents stay there",
    "dead": "would be a dead letter now: nothing is sent",
    "unsettled": "waits, is held, or is a dead letter: look at these first",
    "undelivered": "was never mapped, or was closed",
    "damaged": "cannot be opened",
    "gone": "not kept any more, or erased",
}


@dataclass(slots=True)
class Looks:
    """The looks of the last while, by their filter and configuration."""

    kept: OrderedDict[tuple[str, ...], Look] = field(default_factory=OrderedDict)
    stepping: asyncio.Lock = field(default_factory=asyncio.Lock)

    def of(self, frame: Frame, asking: Asking, asked: Asked, now_us: int) -> Look:
        """The look that an address asks for; a new one where there is none.

        Raises:
            ValueError: a time cannot be read; with the sentence for people.
            AbsentError: there is no such channel.
        """
        key = (asking.site.config_hash, *(asked.get(name) or "" for name in NAMES))
        if key in self.kept:
            self.kept.move_to_end(key)
            return self.kept[key]
        channel = asked.get("channel") or ""
        routes = frame.channels().get(channel)
        if routes is None:
            raise AbsentError(Said(NO_CHANNEL, name=channel))
        with_since = Asked(asked.path, asked.language, {"since": SINCE, **asked.values})
        after_us, before_us = moments(with_since, asking.words)
        selection = Selection(channel=channel, after_us=after_us, before_us=min(before_us or now_us, now_us))
        look = self.kept[key] = Look(selection, asked.get("test") or "", routes, asking.site.config_hash)
        while len(self.kept) > KEPT:
            self.kept.popitem(last=False)
        return look

    def drop(self, look: Look) -> None:
        for key in [key for key, one in self.kept.items() if one is look]:
            del self.kept[key]


def routes(frame: Frame) -> Sequence[Route]:
    if not {VERB, EXPORT} <= frame.verbs.keys():
        return ()
    looks, needs = Looks(), frame.verbs[VERB].needs
    seeing = needs | frame.verbs[EXPORT].needs
    return (
        Route(PATH, partial(_ask, frame, looks), needs),
        Route(PATH, partial(_take, frame, looks), needs, method=hdrs.METH_POST),
        Route(CSV, partial(_masked, frame, looks), needs),
        Route(CSV, partial(_file, frame, looks), seeing, method=hdrs.METH_POST),
        Route(RESULTS, partial(_results, frame, looks), seeing, method=hdrs.METH_POST),
    )


# -- looking ---------------------------------------------------------------------------------------------------------


async def _ask(frame: Frame, looks: Looks, request: web.Request) -> web.Response:
    return await _draw(frame, looks, request, frame.asking(request).query)


async def _draw(
    frame: Frame,
    looks: Looks,
    request: web.Request,
    query: Mapping[str, str],
    status: int = 200,
    trouble: str = "",
    results: Sequence[Mapping[str, Any]] = (),
    purpose: str = "",
) -> web.Response:
    asking = frame.asking(request)._replace(query=query)
    page, words = page_of("affected", PATH, NAMES, asking), asking.words
    asked = Asked.of(PATH, words.language, query, NAMES)
    found, stopped, going = None, query.get("stop") == "1", False
    if asked.get("channel") and not trouble:
        try:
            look = looks.of(frame, asking, asked, frame.desk.clock.now_us())
            if query.get("again") == "1":
                looks.drop(look)
                return frame.desk.go(request, asked.href())
            async with looks.stepping:  # a step changes it, in a thread
                if not (look.ended or stopped):
                    await frame.read(step, look)
                going = not (look.ended or stopped)
                found = _found(look, asked, words)
        except ValueError as error:
            status, trouble = 400, words.say(str(error))
        except LabRelayError as error:
            status, trouble = frame.refused(request, error)
    values = {
        **page.values,
        "found": found,
        "going": going,
        "results": results,
        "purpose": purpose,
        "sees": EXPORT in asking.may,
        "addresses": {path: asked.href(path=path) for path in (PATH, CSV, RESULTS)},
        "stop": asked.href(stop=1),
        "again": asked.href(again=1),
        "trouble": trouble,
    }
    return await frame.desk.page(request, "affected", status, **values)


def _found(look: Look, asked: Asked, words: Words) -> dict[str, Any]:
    kinds = sorted(look.kinds.items(), key=lambda one: (-one[1].occurrences, one[0]))
    return {
        "looked": grouped(look.tally.messages),
        "results": grouped(look.results),
        "count": grouped(look.count),
        "ended": look.ended,
        "too_many": grouped(MOST_MESSAGES) if look.too_many else "",
        "outcomes": [
            (words.say(OUTCOMES[name]), grouped(count)) for name, count in sorted(look.tally.outcomes.items())
        ],
        "kinds": [
            {
                "code": shown(kind.code),
                "before": shown(kind.before),
                "now": shown(kind.now),
                "differs": ", ".join(kind.differs),
                "outcome": words.say(OUTCOMES[kind.outcome]),
                "results": grouped(group.occurrences),
                "messages": grouped(group.messages),
                "examples": [(number, words.href(f"{MESSAGES}/{number}")) for number in group.examples],
            }
            for kind, group in kinds
        ],
        "hidden": {**asked.values, "counted": str(look.count)},
        "most_shown": grouped(MOST_SHOWN) if look.results > MOST_SHOWN else "",
    }


# -- the results -----------------------------------------------------------------------------------------------------


def _looked(frame: Frame, looks: Looks, request: web.Request, query: Mapping[str, str]) -> Look:
    asking = frame.asking(request)._replace(query=query)
    asked = Asked.of(PATH, asking.words.language, query, NAMES)
    return looks.of(frame, asking, asked, frame.desk.clock.now_us())


async def _note(frame: Frame, request: web.Request, look: Look, purpose: str) -> None:
    """Record that a person is about to see results.

    Raises:
        LabRelayError: the purpose is missing.
    """
    if not purpose:
        raise RefusedError("say what you look at it for")
    what = {"reprocess": look.selection.channel, **look.selection.to_json(), "code": look.code}
    await frame.give(request, EXPORT, {"what": what, "purpose": purpose})


async def _results(frame: Frame, looks: Looks, request: web.Request) -> web.Response:
    form = await frame.desk.form(request)
    try:
        look = _looked(frame, looks, request, form.fields)
        await _note(frame, request, look, form["purpose"])
    except ValueError:
        raise web.HTTPBadRequest from None
    except LabRelayError as error:
        return await _draw(frame, looks, request, form.fields, *frame.refused(request, error))
    found = [
        {name: shown(cell(value)) for name, value in row_of(one, unmask=True).items()} | {"number": one.message_id}
        for one in list(look.shown)
    ]
    return await _draw(frame, looks, request, {**form.fields, "stop": "1"}, 200, "", found, form["purpose"])


async def _masked(frame: Frame, looks: Looks, request: web.Request) -> web.StreamResponse:
    return await _list(frame, looks, request, frame.asking(request).query, None)


async def _file(frame: Frame, looks: Looks, request: web.Request) -> web.StreamResponse:
    form = await frame.desk.form(request)
    return await _list(frame, looks, request, form.fields, form["purpose"])


async def _list(
    frame: Frame, looks: Looks, request: web.Request, query: Mapping[str, str], purpose: str | None
) -> web.StreamResponse:
    """All results as a file, found anew some messages at a time; it ends where the browser goes away.

    Args:
        purpose: values are shown for it; None: they are masked.
    """
    try:
        look = _looked(frame, looks, request, query)
        if purpose is not None:
            await _note(frame, request, look, purpose)
    except ValueError:
        raise web.HTTPBadRequest from None
    except LabRelayError as error:
        return await _draw(frame, looks, request, query, *frame.refused(request, error))
    disposition = {hdrs.CONTENT_DISPOSITION: 'attachment; filename="affected.csv"'}
    answer = web.StreamResponse(headers={**disposition, hdrs.CONTENT_TYPE: "text/csv; charset=utf-8"})
    await answer.prepare(request)
    await answer.write(HEADING.encode())
    before: int | None = None
    while True:
        try:
            found, before = await frame.read(rows, look, before)
        except StoreError:
            if request.transport is not None:
                request.transport.abort()  # a list that is cut short must not look whole
            return answer
        lines = [csv_line(row_of(one, unmask=purpose is not None).values()) for one in found]
        await answer.write("".join(lines).encode())
        if before is None:
            return answer


# -- the act ---------------------------------------------------------------------------------------------------------


async def _take(frame: Frame, looks: Looks, request: web.Request) -> web.Response:
    words = frame.asking(request).words

    async def act(form: Form) -> web.Response:
        try:
            look = _looked(frame, looks, request, form.fields)
            changed = not look.ended or look.too_many or form["counted"] != str(look.count)
            if changed and not await frame.was_given(request, form, VERB):
                return await _draw(frame, looks, request, form.fields)
            args = {
                "selection": look.to_send().to_json(),
                "reason": form["reason"],
                "rate": DEFAULT_RATE,
                "config_hash": look.config,
            }
            result = await frame.once(request, form, VERB, args)
        except ValueError:
            raise web.HTTPBadRequest from None
        except LabRelayError as error:
            return await _draw(frame, looks, request, form.fields, *frame.refused(request, error))
        looks.drop(look)
        if result["operation"] is None:
            return await _draw(frame, looks, request, form.fields, 400, words.say(GONE))
        return frame.desk.go(request, f"{OPERATIONS}/{result['operation']}")

    return await frame.desk.answer(request, act)
