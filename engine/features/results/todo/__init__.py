"""What of results waits for a person, beside those that are held: a wrong clock, and what `settings` has."""

from engine.features.results.rows.clocks import WrongClock, wrong_clocks
from engine.features.results.todo.settings import of_settings
from engine.model.process.clock import from_us
from engine.model.texts.phrases import Phrase
from engine.model.texts.reasons import ReasonCode
from engine.monitoring.snapshot.states import Level
from engine.monitoring.todo import Entry, Look, Way, named


async def entries(look: Look) -> list[Entry]:
    return [*map(of_clock, await look.read(wrong_clocks) or ()), *await of_settings(look)]


def of_clock(clock: WrongClock) -> Entry:
    return Entry(
        key=f"analyzer-clock/{clock.channel}",
        level=Level.ATTENTION,
        phrase=named(
            clock.channel,
            Phrase(
                "Its clock is wrong: {n} wait. A release sends them, and what comes after them, without the time.",
                {"n": clock.deliveries},
            ),
        ),
        step=f"labrelay held list --channel {clock.channel} --code {ReasonCode.CLOCK.value}",
        way=Way("Decide: {n}", "/held", {"channel": clock.channel}),
        count=clock.deliveries,
        since=from_us(clock.first_us),
        subject=clock.channel,
    )
