"""How the analyzer of a channel asks, and which orders it may get; made of the configuration."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from engine.model.clock import from_us
from engine.model.message import FormatOptions
from engine.model.orders import AnswerContext
from engine.model.ports import Dialogue, Format
from engine.model.worklist import AskSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A channel whose questions are answered.

    Attributes:
        settings: for the look-up. answers: for the dialogue, without time and control id.
        deadline_s: so long after its question an answer may begin.
        closes: the connection is closed where a question gets no answer, as MLLP wants it.
    """

    message_format: Format
    options: FormatOptions
    dialogue: Dialogue
    settings: AskSettings
    timezone: str
    demographics: bool
    deadline_s: float
    closes: bool

    def context(self, now_us: int, control_id: str) -> AnswerContext:
        now: datetime = from_us(now_us).astimezone(ZoneInfo(self.timezone))
        return AnswerContext(now=now.strftime("%Y%m%d%H%M%S"), control_id=control_id, demographics=self.demographics)
