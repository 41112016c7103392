"""A history from a seed: some ordinary lives of samples and at most one trap, in turns; or a shift, with its duties."""

import random

from tests.histories.samples.day import Day, in_turns
from tests.histories.samples.duties import ASTM, DUTIES, HL7, PLAIN, TESTS
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


def shift(seed: int) -> History:
    """One or two duties, of one analyzer, for one to three receivers."""
    rng = random.Random(f"shift/{seed}")
    duty = rng.choices(DUTIES, [one.share for one in DUTIES])[0]
    protocol = duty.protocol or rng.choice(("hl7", "astm"))
    possible = [one for one in (HL7 if protocol == "hl7" else ASTM) if one in duty.outputs]
    outputs = rng.sample(possible, min(rng.choice((1, 2, 2, 3)), len(possible)))
    day = Day(rng, outputs[0], protocol, beside=tuple(outputs[1:]))
    in_turns(rng, [duty.life(day)])
    return History(
        seed=seed, name="plain" if duty.life in PLAIN else duty.life.__name__, fault=duty.fault, output=outputs[0],
        protocols=(protocol,), steps=tuple(day.steps), beside=tuple(outputs[1:]), targets=TESTS,
    )  # fmt: skip
