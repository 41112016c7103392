"""Maintenance on the page of its analyzer: when each job was done, and is due; a person notes one as done."""

from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from aiohttp import web

from engine.features.quality_control.rows.reading import list_jobs
from engine.features.quality_control.rules.maintenance import Job, JobView
from engine.model.process.clock import from_us, to_us
from engine.model.texts.phrases import N_
from engine.store.queries.reader import Reader
from engine.web.cells import Cells, Row, iso
from engine.web.forms import Form
from engine.web.pages.analyzer import PATH as ANALYZER
from engine.web.pages.frame import Asking, Frame
from engine.web.pages.panels import Panels, Section
from engine.web.pages.words import shown
from engine.web.routes import Route

STATES = {
    "late": ("problem", N_("late")),
    "due": ("attention", N_("due soon")),
    "never": ("attention", N_("never noted")),
    "over": ("attention", N_("no date to come")),
    "later": ("ok", N_("in time")),
}


VERB, PATH = "quality_done", "/quality/maintenance"


def routes(frame: Frame) -> Sequence[Route]:
    return frame.forms(PATH, VERB, _take)


async def _take(frame: Frame, request: web.Request) -> web.Response:
    async def redraw(request: web.Request, status: int, trouble: str, form: Form) -> web.Response:
        instead = frame.instead("Maintenance", ANALYZER, name=form["channel"])
        return await instead(request, status, trouble, form)

    def asked(form: Form) -> tuple[str, dict[str, str]]:
        return VERB, {"channel": form["channel"], "job": form["act"], "reason": form["reason"]}

    def go(form: Form, done: Mapping[str, Any]) -> web.Response:
        return frame.desk.go(request, ANALYZER, name=form["channel"])

    return await frame.take(request, asked, redraw, go)


class _Panels(Panels):
    def sections(self, reader: Reader, asking: Asking, channel: str) -> Sequence[Section]:
        jobs: Sequence[Job] = asking.site.of_features.get("maintenance", ())  # type: ignore[assignment]
        mine = [one for one in jobs if one.channel == channel]
        if not mine:
            return ()
        cells = Cells(asking.site, asking.words.catalogue, asking.words.language)
        found = list_jobs(reader, mine, to_us(asking.site.now), ZoneInfo(asking.site.timezone))
        action = asking.words.href(PATH) if VERB in asking.may else ""
        rows = [_row(cells, one) for one in found]
        return [Section("maintenance.html", {"rows": rows, "channel": channel, "action": action})]


def _row(cells: Cells, one: JobView) -> Row:
    level, word = STATES[one.state]
    done = from_us(one.done_us) if one.done_us else None
    return {
        "job": shown(one.job),
        "name": one.job,
        "level": level,
        "state": cells.say(word),
        "done": cells.clock_time(done) if done is not None else "-",
        "iso": iso(done),
        "due": one.due.isoformat() if one.due else "-",
    }


PANELS = _Panels()
