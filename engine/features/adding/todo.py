"""Drafts wait for a person, and so does what came of an analyzer while it was one: it was answered, and not sent."""

from collections.abc import Sequence
from functools import partial

from engine.features.adding.service.putting import Adding
from engine.model.process.clock import from_us
from engine.model.texts.phrases import Phrase
from engine.model.texts.reasons import ReasonCode
from engine.monitoring.snapshot.states import Level
from engine.monitoring.todo import Entry, Look, Way
from engine.store.queries.tallies import OfReason, ended_for

KEPT_US = 7 * 86_400_000_000  # so long an analyzer that goes out has what came before on the list


async def entries(look: Look) -> Sequence[Entry]:
    running = look.service(Adding)
    if running is None:
        return ()
    channels = running.app.parts.built.site.channels
    drafts = [_draft(name) for name, channel in channels.items() if channel.draft]
    found = await look.read(partial(ended_for, reason=ReasonCode.DRAFT.value, since_us=look.now_us - KEPT_US)) or ()
    return drafts + [_unsent(one) for one in found if one.channel in channels and not channels[one.channel].draft]


def _draft(name: str) -> Entry:
    return Entry(
        key=f"draft/{name}",
        level=Level.ATTENTION,
        phrase=Phrase("{name} is being added: nothing of it goes out yet", {"name": name}),
        step=f"labrelay add look {name}",
        way=Way("Go on", f"/add/{name}/recognise"),
        subject=name,
    )


def _unsent(one: OfReason) -> Entry:
    return Entry(
        key=f"unsent/{one.channel}",
        level=Level.ATTENTION,
        phrase=Phrase(
            "{name}: messages that came while it was being added, and were not sent: {n}",
            {"name": one.channel, "n": one.messages},
        ),
        step=f"labrelay reprocess --channel {one.channel}",
        way=Way("Look at what came before, and send it, too", "/affected", {"channel": one.channel, "since": "all"}),
        count=one.messages,
        since=from_us(one.first_us),
        subject=one.channel,
    )
