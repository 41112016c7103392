"""Maintenance on the page of its analyzer: when each job was done last, and is due next."""

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from engine.features.quality_control.rows.reading import list_jobs
from engine.features.quality_control.rules.maintenance import Job, JobView
from engine.model.process.clock import from_us, to_us
from engine.model.texts.phrases import N_
from engine.store.queries.reader import Reader
from engine.web.cells import Cells, Row, iso
from engine.web.pages.frame import Asking
from engine.web.pages.panels import Panels, Section
from engine.web.pages.words import shown

STATES = {
    "late": ("problem", N_("late")),
    "due": ("attention", N_("due soon")),
    "never": ("attention", N_("never noted")),
    "over": ("attention", N_("no date to come")),
    "later": ("ok", N_("in time")),
}


class _Panels(Panels):
    def sections(self, reader: Reader, asking: Asking, channel: str) -> Sequence[Section]:
        jobs: Sequence[Job] = asking.site.of_features.get("maintenance", ())  # type: ignore[assignment]
        mine = [one for one in jobs if one.channel == channel]
        if not mine:
            return ()
        cells = Cells(asking.site, asking.words.catalogue, asking.words.language)
        found = list_jobs(reader, mine, to_us(asking.site.now), ZoneInfo(asking.site.timezone))
        return [Section("maintenance.html", {"rows": [_row(cells, one) for one in found]})]


def _row(cells: Cells, one: JobView) -> Row:
    level, word = STATES[one.state]
    done = from_us(one.done_us) if one.done_us else None
    return {
        "job": shown(one.job),
        "level": level,
        "state": cells.say(word),
        "done": cells.clock_time(done) if done is not None else "-",
        "iso": iso(done),
        "due": one.due.isoformat() if one.due else "-",
    }


PANELS = _Panels()
