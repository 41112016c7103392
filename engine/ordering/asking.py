"""How the analyzer of a channel asks, and which orders it may get; made of the configuration."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
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
        download: when waiting orders are sent unasked; None: never. download_every_s: of ``batch``.
        cancels: the analyzer can be told to give up an order that it has.
        texts: of the channel, for the dialogue (`engine.model.orders.AnswerContext.settings`).
    """

    message_format: Format
    options: FormatOptions
    dialogue: Dialogue
    settings: AskSettings
    timezone: str
    demographics: bool
    deadline_s: float
    closes: bool
    download: Literal["on_order", "on_connect", "batch"] | None = None
    download_every_s: float = 600.0
    cancels: bool = False
    texts: tuple[tuple[str, str], ...] = ()

    def context(self, now_us: int, control_id: str, *, unasked: bool = False) -> AnswerContext:
        now: datetime = from_us(now_us).astimezone(ZoneInfo(self.timezone))
        return AnswerContext(
            now=now.strftime("%Y%m%d%H%M%S"),
            control_id=control_id,
            demographics=self.demographics,
            unasked=unasked,
            settings=self.texts,
        )
