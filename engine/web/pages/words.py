"""Sentences, times, counts and addresses in the reader's language. Digits are Western ones in all languages."""

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from engine.model.process.clock import from_us
from engine.model.texts.phrases import Catalogue, Phrase, Span
from engine.model.texts.reasons import ReasonCode
from engine.views.view import printable
from engine.web.cells import meaning

LONGEST = 60  # signs of a foreign text in a list


@dataclass(frozen=True, slots=True)
class Words:
    """What a page says in one language.

    Attributes:
        language: its code, for addresses.
        zone: in which people read times.
        now: the moment of the page.
    """

    language: str
    catalogue: Catalogue
    zone: ZoneInfo
    now: datetime

    def say(self, text: str, **values: str | int | Span | Phrase) -> str:
        return Phrase(text, values).say(self.catalogue)

    def time(self, at_us: int) -> str:
        """With seconds, without the zone; empty for 0."""
        return from_us(at_us).astimezone(self.zone).strftime("%Y-%m-%d %H:%M:%S") if at_us else ""

    def short(self, at_us: int) -> str:
        """As `time`; today's without the day."""
        day, _, of_day = self.time(at_us).partition(" ")
        return of_day if day == self.now.astimezone(self.zone).strftime("%Y-%m-%d") else f"{day} {of_day}"

    def exact(self, at_us: int) -> str:
        """As `time`, with milliseconds."""
        return f"{self.time(at_us)}.{at_us // 1000 % 1000:03d}" if at_us else ""

    def ago(self, at_us: int) -> str:
        return self.say("{age} ago", age=Span((self.now - from_us(at_us)).total_seconds())) if at_us else ""

    def when(self, at_us: int) -> dict[str, str]:
        """A moment, as templates write it."""
        return {"at": self.time(at_us), "iso": iso(at_us), "ago": self.ago(at_us)}

    def reason(self, code: str) -> str:
        """The meaning of a reason code in one sentence; empty where this version does not know it."""
        found = ReasonCode.__members__.get(code)
        return self.say(meaning(found)) if found is not None else ""

    def href(self, path: str, **query: str | int) -> str:
        """An address of this server, in the same language; empty values are left out."""
        return f"{path}?{urlencode({**{name: one for name, one in query.items() if one}, 'lang': self.language})}"


def iso(at_us: int) -> str:
    return from_us(at_us).isoformat(timespec="milliseconds") if at_us else ""


def grouped(count: int) -> str:
    """A count as people of India write it: 12,34,567."""
    text = str(count)
    head, tail = text[:-3], text[-3:]
    pairs = [head[max(0, at - 2) : at] for at in range(len(head), 0, -2)]
    return ",".join([*reversed(pairs), tail])


def shown(text: str, longest: int = LONGEST) -> str:
    """Text of a device or a server as one short line: signs that control a screen or a direction are written out."""
    text = printable(text).replace("\n", " ")
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
