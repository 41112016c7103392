"""The messages of one shift of an analyzer, in order: controls first, then specimens, some of them repeated.

The same seed gives the same shift, byte for byte.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from workbench.simulator.packs import Model, Sample
from workbench.simulator.panels import measured_again, new_result
from workbench.simulator.people import Reception
from workbench.simulator.texts import SHAPES, new_text

BETWEEN = timedelta(seconds=73)  # from one measurement to the next
AT_LEAST = timedelta(seconds=1)  # where the clock does not permit that
CONTROLS_EVERY = 40  # specimens
RERUN_SHARE = 0.06
CORRECTION_SHARE = 0.04
RUNS = 1_000_000_000  # seeds that give numbers of their own: with 5 digits more they fit a barcode
REMEMBERED = 8  # specimens back that may be measured again


class Kind(Enum):
    RESULT = "result"
    RERUN = "rerun"
    CORRECTION = "correction"
    CONTROL = "control"
    QUESTION = "question"  # of an analyzer that asks for orders


@dataclass(frozen=True, slots=True)
class PlannedMessage:
    """One message to be sent.

    Attributes:
        numbers: of its specimens and orders, as far as they were made up; empty for a control.
    """

    kind: Kind
    sample: str
    numbers: tuple[str, ...]
    payload: bytes


@dataclass(frozen=True, slots=True)
class _Measured:
    sample: Sample
    numbers: tuple[str, ...]
    text: str


def shift(
    model: Model,
    *,
    seed: int,
    start: datetime,
    specimens: int,
    controls: bool = False,
    again: bool = True,
    now: Callable[[], datetime] | None = None,
) -> Iterator[PlannedMessage]:
    """The messages of a shift.

    Args:
        start: local time of the first measurement.
        specimens: how many new ones; 0: without end.
        controls: with control runs, if the model has samples of them.
        again: with reruns and corrections.
        now: the analyzer's clock, which measurements do not run ahead of; None: they may.
    """
    rng = random.Random(seed)
    run = str(seed % RUNS)
    reception = Reception(run, rng)
    at = start
    number = 0
    before: list[_Measured] = []

    def control_id() -> str:
        nonlocal number, at
        number += 1
        at = max(at + AT_LEAST, at + BETWEEN if now is None else min(at + BETWEEN, now()))
        return f"SIM{run}{number:06d}"

    done = 0
    while specimens == 0 or done < specimens:
        if controls and done % CONTROLS_EVERY == 0:
            for sample in model.controls:
                text = measured_again(sample.text, control=control_id(), at=at, rng=rng, writing=model.writing)
                yield PlannedMessage(Kind.CONTROL, sample.name, (), text.encode(sample.charset, "replace"))
        sample = model.results[done % len(model.results)]
        control = control_id()
        if (shape := SHAPES.get(model.name)) is not None:
            text, made = new_text(shape, sample.text, reception=reception, at=at, rng=rng)
        else:
            text, made = new_result(
                sample.text, reception=reception, control=control, at=at, rng=rng, writing=model.writing
            )
        done += 1
        before = [*before[1 - REMEMBERED :], _Measured(sample, tuple(made), text)]
        yield PlannedMessage(Kind.RESULT, sample.name, tuple(made), text.encode(sample.charset, "replace"))
        chance = rng.random()
        if again and shape is None and chance < RERUN_SHARE + CORRECTION_SHARE:
            kind = Kind.RERUN if chance < RERUN_SHARE else Kind.CORRECTION
            place = rng.randrange(len(before))
            old = before[place]
            status = "C" if kind is Kind.CORRECTION else None
            text = measured_again(old.text, control=control_id(), at=at, rng=rng, status=status, writing=model.writing)
            before[place] = _Measured(old.sample, old.numbers, text)
            yield PlannedMessage(kind, old.sample.name, old.numbers, text.encode(old.sample.charset, "replace"))
