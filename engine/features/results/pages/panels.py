"""Parts of pages of the core: the results of a message, what was decided about its documents, what a release sends.

Who may see patients sees results, and who may decide those that are held; the look is in the audit trail, once for each
log-in. Others see which tests these are.
"""

from collections.abc import Iterable, Sequence, Set
from contextlib import suppress
from functools import partial
from itertools import compress, islice
from typing import Any

from aiohttp import web

from engine.actions.selection import Selection, each_letter
from engine.features.results.lists.held_results import LEFT_OUT, MOST_AT_ONCE, Said, held_of, results_held, results_said
from engine.features.results.pages import decision
from engine.features.results.pages.rows import in_words, own_codes, parts, row_of_message
from engine.model.errors import ConfigError, StoreError
from engine.model.journal.document_facts import DocumentFacts
from engine.model.journal.journal_views import DeadLetter, Trace
from engine.model.site.permissions import SEEING_PATIENTS
from engine.model.texts.phrases import N_
from engine.store.queries.letters import held_deliveries
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import Reader
from engine.views.decided import counted, decided
from engine.web.asked import number
from engine.web.pages.doing import look_once
from engine.web.pages.frame import Asking, Channels, Frame
from engine.web.pages.messages import PATH as MESSAGES
from engine.web.pages.messages import asked_of
from engine.web.pages.panels import Link, Panels, Section
from engine.web.pages.words import Words, shown

UNREAD = N_("Its results cannot be read here: look at the contents of the message.")
READING = "results"  # the purpose of who opens the page of a message
TOO_MANY = N_("More than {n} at once cannot be released: each is seen first. Choose fewer.")


class _Panels(Panels):
    async def of_message(self, frame: Frame, request: web.Request, message: int) -> Section | None:
        asking = frame.asking(request)
        values: dict[str, Any] = {"rows": [], "trouble": "", "own_codes": ""}
        try:
            trace, is_held = await frame.read(_known, message)
            if trace is None:
                return None
            sees_all = asking.principal.may(SEEING_PATIENTS)
            sees = (sees_all or is_held) and await look_once(frame, request, message, purpose=READING)
            first = number(asking.query.get("first", ""))
            said = await frame.read(_said, frame.channels, trace, first, sees and sees_all, sees)
            rows, count = said or ((), 0)
            values["rows"] = [row_of_message(one, asking.words) for one in rows]
            sent = [
                row
                for row, one in zip(values["rows"], rows, strict=True)
                if not (one.hidden or one.control) and set(one.went.values()) - {LEFT_OUT}
            ]
            values["own_codes"] = own_codes(sent, asking.words)
            values["trouble"] = asking.words.say(UNREAD) if said is None else ""
            values |= _around(first, count, asking)
        except (StoreError, ConfigError) as error:
            values["trouble"] = frame.why_not(error, asking.words)[1]
        return Section("message_results.html", values)

    def offers(self, asking: Asking, trace: Trace) -> Iterable[Link]:
        is_held = any(one.state == "held" for one in trace.deliveries)
        if is_held and decision.VERBS[0] in asking.may:
            to = decision.PATH.replace("{number}", str(trace.message.id))
            yield asking.words.say("Decide"), asking.words.href(to)

    def said_of(
        self, reader: Reader, channels: Channels, message: int, specimen: str, codes: Set[str], words: Words
    ) -> Iterable[str]:
        with suppress(StoreError, ConfigError):
            if (trace := trace_of(reader, message)) is not None:
                said, _ = _said(reader, channels, trace, 0, True, True) or ((), 0)
                for one in (one.row for one in said):
                    of = {one["test"], one["loinc"], *one["codes"]}
                    if one["specimen"] in ("", specimen) and not codes.isdisjoint(of):
                        yield in_words(one, words)

    def remarks(self, facts: DocumentFacts) -> Iterable[str]:
        return counted(decided(facts))

    async def before(self, frame: Frame, request: web.Request, verb: str, selection: Selection) -> Section | None:
        """Each result that a release sends. Those that cannot be read are released by who may see contents."""
        if verb != "release":
            return None
        words = frame.asking(request).words
        letters = await frame.read(_letters, selection)
        if len(letters) > MOST_AT_ONCE:
            return Section("held_values.html", {"rows": [], "refused": words.say(TOO_MANY, n=MOST_AT_ONCE)})
        if not await look_once(frame, request, *dict.fromkeys(one.message_id for one in letters)):
            raise web.HTTPForbidden
        rows = await frame.read(_rows, frame.channels, letters, words)
        blind = any(row["unread"] for row in rows) and not frame.asking(request).principal.may(SEEING_PATIENTS)
        return Section("held_values.html", {"rows": rows, "refused": words.say(UNREAD) if blind else ""})


PANELS = _Panels()


def _known(reader: Reader, message: int) -> tuple[Trace | None, bool]:
    return trace_of(reader, message), any(one.state == "held" for one in held_of(reader, message))


def _said(
    reader: Reader, channels: Channels, trace: Trace, first: int, sees: bool, sees_held: bool
) -> tuple[list[Said], int] | None:
    routes = channels().get(trace.message.channel)
    return results_said(reader, routes, trace, first=first, sees=sees, sees_held=sees_held)


def _around(first: int, count: int, asking: Asking) -> dict[str, Any]:
    path, asked = f"{MESSAGES}/{number(asking.found['number'])}", asked_of(asking)
    return parts(first if first < count else 0, count, partial(asked.href, path=path, top=asked.top), asking.words)


def _letters(reader: Reader, selection: Selection) -> list[DeadLetter]:
    """With their reasons, which name results."""
    return list(islice(each_letter(reader, held_deliveries, selection), MOST_AT_ONCE + 1))


def _rows(reader: Reader, channels: Channels, letters: Sequence[DeadLetter], words: Words) -> list[dict[str, Any]]:
    """A row for each delivery: what is decided about first, then the other results, each in words."""
    found: list[dict[str, Any]] = []
    all_results = results_held(reader, channels(), letters)
    for one in letters:
        rows = all_results[str(one.delivery_id)]
        marked = [row["held"] or row["critical"] for row in rows or ()]
        said = [in_words(row, words) for row in rows or ()]
        specimens = dict.fromkeys(row["specimen"] for row in rows or () if row["specimen"])
        found.append(
            {
                "message": one.message_id,
                "href": words.href(f"{MESSAGES}/{one.message_id}"),
                "destination": one.destination,
                "specimen": shown(", ".join(specimens), 300),
                "marked": [*compress(said, marked)],
                "others": "; ".join(one for one, is_marked in zip(said, marked, strict=True) if not is_marked),
                "critical": one.critical or any(row["critical"] for row in rows or ()),
                "unread": rows is None,
            }
        )
    return found
