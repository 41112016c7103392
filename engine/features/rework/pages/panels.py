"""Parts of pages of the core: what can be done with a message or a delivery, the last dead letters of an analyzer."""

from collections.abc import Iterable, Sequence

from engine.features.rework.pages import aside, copied, edit, replay
from engine.features.rework.pages.dead_letters import EACH, letter_row
from engine.model.journal_views import DeliveryView, Filter, Trace
from engine.model.records import LETTER_STATES
from engine.store.operations.dead_letters import likely_fix
from engine.store.queries.letters import dead_letters
from engine.store.queries.reader import Reader
from engine.web.pages.doing import offers
from engine.web.pages.frame import Asking
from engine.web.pages.panels import Link, Panels, Section
from engine.web.pages.words import Words

LETTERS = 5  # the last dead letters


class _Panels(Panels):
    def offers(self, asking: Asking, trace: Trace) -> Iterable[Link]:
        there = {one.state for one in trace.deliveries} | {trace.message.state}
        verbs = ["retry"] if "dead" in there else []
        verbs += ["dismiss"] if there & {*LETTER_STATES} else []
        verbs += ["release", "reject"] if "held" in there else []
        given = offers(asking, verbs, ids=trace.message.id)
        others = [*aside.offers(asking, trace.deliveries), *replay.offer(asking, trace)]
        return [*edit.offer(asking, trace), *given, *others]

    def test_of(self, words: Words, message: int) -> str:
        return copied.address(words, message)

    def offers_of_delivery(self, asking: Asking, one: DeliveryView) -> Iterable[Link]:
        return aside.offers(asking, [one])

    def sections(self, reader: Reader, asking: Asking, channel: str) -> Sequence[Section]:
        found = dead_letters(reader, Filter(channel=channel), limit=LETTERS)
        rows = [letter_row(one, asking.words) | {"fix": likely_fix(one.reason, channel)} for one in found]
        return [Section("letters_of_analyzer.html", {"rows": rows, "href": asking.words.href(EACH, channel=channel)})]


PANELS = _Panels()
