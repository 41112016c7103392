"""Parts of pages of the core: what was decided about the documents of a message; what a release of many sends."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from aiohttp import web

from engine.actions.selection import Selection, each_letter
from engine.features.results.lists.held_results import MOST_AT_ONCE, results_held
from engine.features.results.pages.rows import row_of
from engine.model.journal.document_facts import DocumentFacts
from engine.model.journal.journal_views import DeadLetter
from engine.model.site.permissions import SEEING_PATIENTS
from engine.model.texts.phrases import N_
from engine.store.queries.letters import held_deliveries
from engine.store.queries.reader import Reader
from engine.views.decided import counted, decided
from engine.web.pages.doing import look_once
from engine.web.pages.frame import Channels, Frame
from engine.web.pages.messages import PATH as MESSAGES
from engine.web.pages.panels import Panels, Section
from engine.web.pages.words import Words

UNREAD = N_("Its results cannot be read here: look at the contents of the message.")
TOO_MANY = N_("More than {n} at once cannot be released: each is seen first. Choose fewer.")


class _Panels(Panels):
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
        for number in dict.fromkeys(one.message_id for one in letters):
            if not await look_once(frame, request, number):
                raise web.HTTPForbidden
        rows = await frame.read(_rows, frame.channels, letters, words)
        blind = any(row["unread"] for row in rows) and not frame.asking(request).principal.may(SEEING_PATIENTS)
        return Section("held_values.html", {"rows": rows, "refused": words.say(UNREAD) if blind else ""})


PANELS = _Panels()


def _letters(reader: Reader, selection: Selection) -> list[DeadLetter]:
    """With their reasons, which name results."""
    return list(islice(each_letter(reader, held_deliveries, selection), MOST_AT_ONCE + 1))


def _rows(reader: Reader, channels: Channels, letters: Sequence[DeadLetter], words: Words) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for one in letters:
        results = results_held(reader, channels(), [one])[str(one.delivery_id)]
        about = {
            "message": one.message_id,
            "href": words.href(f"{MESSAGES}/{one.message_id}"),
            "destination": one.destination,
        }
        found += [row_of(row, words) | about for row in results or ()]
        if results is None:
            found.append({**about, "unread": True, "critical": False, "held": True})
    return found
