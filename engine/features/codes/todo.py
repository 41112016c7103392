"""Which codes without a mapping wait for a person."""

from collections.abc import Sequence

from engine.features.codes.service.missing_codes import CodeService
from engine.model.process.clock import from_us
from engine.model.texts.phrases import Phrase
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.monitoring.snapshot.states import Level
from engine.monitoring.todo import Entry, Look, Together, Way, named
from engine.store.queries.tallies import ChannelGaps, unmapped_by_channel

_CODES = Together("Codes without a mapping: {n}", Way("Look at the codes: {n}", "/codes"), sums=True)


async def entries(look: Look) -> list[Entry]:
    if not look.site.unmapped_total:
        return []
    running = look.service(CodeService)
    return of_gaps(look.site, await look.read(unmapped_by_channel if running is None else running.missing.by_channel))


def of_gaps(site: SiteSnapshot, gaps: Sequence[ChannelGaps] | None) -> list[Entry]:
    """None: they cannot be read; then one entry has the count of the snapshot."""
    if gaps is None:
        words = Phrase("Codes without a mapping: {n}", {"n": site.unmapped_words})
        step = "labrelay gaps -o table"
        return [Entry(key="unmapped", level=Level.ATTENTION, phrase=words, step=step, way=_way(""), together=_CODES)]
    return [_unmapped(one) for one in gaps]


def _way(channel: str) -> Way:
    return Way("Look at the codes: {n}", "/codes", {"channel": channel})


def _unmapped(one: ChannelGaps) -> Entry:
    return Entry(
        key=f"unmapped/{one.channel}",
        level=Level.ATTENTION,
        phrase=named(one.channel, Phrase("Codes without a mapping: {n}", {"n": one.codes})),
        step=f"labrelay gaps --channel {one.channel} -o table",
        way=_way(one.channel),
        count=one.codes,
        since=from_us(one.first_us),
        subject=one.channel,
        together=_CODES,
    )
