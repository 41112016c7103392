"""The traffic of a line as the page shows it: its latest steps, without content."""

from collections.abc import Iterable

from engine.diagnostics.lines.dialogue import Step, dialogue, plain_size
from engine.model.clock import from_us
from engine.model.link_words import fault_words
from engine.model.phrases import Phrase
from engine.monitoring.snapshot.links import LineStep
from engine.store.operations.line_trace import LineEntry

STEPS = 12  # that the page shows


def line_steps(entries: Iterable[LineEntry]) -> tuple[LineStep, ...]:
    """The last steps of a session or of a part of it, in order."""
    return tuple(map(line_step, list(dialogue(entries))[-STEPS:]))


def line_step(step: Step) -> LineStep:
    """A step without its content."""
    if step.way == "--":
        kind, _, rest = step.what.partition(":")
        what = Phrase(fault_words(kind))
        phrase = Phrase("{what} ({detail})", {"what": what, "detail": rest.strip()}) if rest else what
        return LineStep(at=from_us(step.at_us), way="about", words=phrase)
    if step.good is not None:
        number = "?" if step.number is None else step.number
        phrase = Phrase("frame {n}, {size} bytes", {"n": number, "size": len(step.data)})
        verdict = Phrase("checksum right") if step.good else Phrase("checksum wrong")
        return LineStep(at=from_us(step.at_us), way=step.way, words=phrase, verdict=verdict, good=step.good)
    phrase = Phrase("{text}", {"text": step.what})  # ENQ, ACK, ...: in no language
    if step.what == plain_size(step.data):
        phrase = Phrase("{n} bytes", {"n": len(step.data)})
    return LineStep(at=from_us(step.at_us), way=step.way, words=phrase)
