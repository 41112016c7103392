"""Settings of a channel that warnings name, with the value that would do it: an entry for each warning of a channel."""

from functools import partial

from engine.features.results.rows.named_settings import NamedSettings, named_settings
from engine.features.results.service import ResultService
from engine.model.texts.named_settings import to_write
from engine.model.texts.phrases import Phrase
from engine.monitoring.snapshot.states import Level
from engine.monitoring.todo import Entry, Look, Way, named


async def of_settings(look: Look) -> list[Entry]:
    running = look.service(ResultService)
    if running is None:
        return []
    read = partial(named_settings, now_us=look.now_us, site=running.app.parts.built.site)
    return [*map(of_warning, await look.read(read) or ())]


def of_warning(warned: NamedSettings) -> Entry:
    words = Phrase("Messages with the warning {code}: {n}", {"n": warned.messages, "code": warned.code})
    return Entry(
        key=f"setting/{warned.channel}/{warned.code}",
        level=Level.ATTENTION,
        phrase=named(warned.channel, to_write(words, warned.settings)),
        step="labrelay help warnings",
        way=Way("Look at the analyzer", "/analyzer", {"name": warned.channel}),
        count=warned.messages,
        subject=warned.channel,
    )
