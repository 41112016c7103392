"""A history from a seed: some ordinary lives of samples and at most one trap, in turns."""

import random
from collections.abc import Iterator

from tests.histories.samples.day import Day
from tests.histories.samples.facts import OUTPUTS, History, Message
from tests.histories.samples.lives import ORDINARY, TRAPS

MOST_ORDINARY = 2
PLAIN_SHARE = 0.3
SPOKEN = {"hl7": "astm", "abdm": "hl7"}  # outputs that are made of one protocol alone


def history(seed: int) -> History:
    rng = random.Random(f"samples/{seed}")
    trap = rng.choice(TRAPS) if rng.random() >= PLAIN_SHARE else None
    output = rng.choice(("fhir", *(trap.outputs if trap else OUTPUTS)))  # of all of them the most has to hold there
    protocol = SPOKEN.get(output) or (trap and trap.protocol) or rng.choice(("hl7", "astm"))
    day = Day(rng, output, protocol)
    lives = [trap.life(day)] if trap else []
    lives += [rng.choice(ORDINARY)(day) for _ in range(rng.randrange(0, MOST_ORDINARY) if trap else MOST_ORDINARY)]
    in_turns(rng, lives)
    used = 1 + max(step.shown.channel for step in day.steps if isinstance(step, Message))
    return History(
        seed=seed, name=trap.life.__name__ if trap else "plain", fault=trap.fault if trap else 0, output=output,
        protocols=(protocol,) * used, steps=tuple(day.steps), holds=bool(trap and trap.holds), joined=day.joined,
    )  # fmt: skip


def in_turns(rng: random.Random, lives: list[Iterator[None]]) -> None:
    """Each life takes steps until it is over."""
    while lives:
        one = rng.choice(lives)
        if next(one, 0) == 0:
            lives.remove(one)
