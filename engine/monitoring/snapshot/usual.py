"""The gap between messages that is usual for a channel now, and where it is known from."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from engine.model.phrases import Phrase, Span


@dataclass(frozen=True, slots=True, kw_only=True)
class UsualGap:
    """How far apart messages usually are at this hour.

    Attributes:
        gap_s: None while it is not known.
        source: ``configured`` in the channel's YAML, or ``learned`` for this hour of the week; ``unknown`` while there
            is too little history.
        day_off: today nothing is expected.
        expected: messages usually come at this hour.
        silent: of a learned gap: it is exceeded, and that is no chance.
    """

    gap_s: float | None = None
    source: Literal["configured", "learned", "unknown"] = "unknown"
    day_off: bool = False
    expected: bool = True
    silent: bool = False
    derived: ClassVar = ("words",)

    @property
    def words(self) -> Phrase | None:
        """For people; None where there is nothing to say."""
        if self.day_off:
            return Phrase("nothing expected: day off")
        if self.gap_s is None:
            return None
        if self.source == "configured":
            return Phrase("usual {gap}", {"gap": Span(self.gap_s)})
        if not self.expected and not self.silent:
            return Phrase("nothing expected at this hour")
        return Phrase("usual {gap} at this hour", {"gap": Span(self.gap_s)})
