"""The filter of a list, as its address has it: read, checked, shown as fields and chips, and written again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from engine.model.texts.units import parse_duration
from engine.web.pages.words import grouped

LONGEST = 600  # signs of one value: a number of 100 signs, sealed
PAGE = 50  # rows
MOST_COUNTED = 10_000
EVER = "all"
DAYS = {"today": 0, "yesterday": 1}  # back from the day of the site's clock, at its midnight
NO_CAUSE = "-"  # of dead letters without a text ...
NO_DESTINATION = "-"  # ... and of messages, which have none
MOST_DIGITS = 18


class Chip(NamedTuple):
    """A part of the filter that is set.

    Attributes:
        without: the address of the same list without it.
    """

    label: str
    value: str
    without: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What an address asks a list for.

    Attributes:
        path: of the list.
        values: name -> value; only names that the list knows, and no empty value.
        before: only rows with a lower number than this; 0: from the newest on.
        top: the highest number when the first page was drawn; later ones are "new"; 0: not drawn yet.
    """

    path: str
    language: str
    values: Mapping[str, str]
    before: int = 0
    top: int = 0

    @classmethod
    def of(cls, path: str, language: str, query: Mapping[str, str], names: Iterable[str]) -> "Asked":
        values = {name: value for name in names if (value := query.get(name, "").strip()[:LONGEST])}
        return cls(path, language, values, number(query.get("before", "")), number(query.get("top", "")))

    def get(self, name: str) -> str | None:
        """None where it is not asked for."""
        return self.values.get(name)

    def href(self, *, path: str = "", without: str = "", **more: str | int) -> str:
        """The address of this list, from its newest row on. ``more``: other values, and ``before`` and ``top``."""
        query = {name: str(value) for name, value in {**self.values, **more}.items() if value and name != without}
        return f"{path or self.path}?{urlencode({**query, 'lang': self.language})}"

    def chips(self, labels: Mapping[str, str], said: Mapping[str, str] = MappingProxyType({})) -> list[Chip]:
        """Of the names that have a label.

        Args:
            said: name -> the words for its value, where these are not the value.
        """
        return [
            Chip(labels[name], said.get(name, value), self.href(without=name))
            for name, value in self.values.items()
            if name in labels
        ]


def number(text: str) -> int:
    """0 where the text is no number of a row."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS else 0


def counted(count: int) -> str:
    """A count as text, up to the most that is counted."""
    return f"{grouped(MOST_COUNTED)}+" if count > MOST_COUNTED else grouped(count)


def moment_us(text: str, now: datetime, zone: ZoneInfo) -> int | None:
    """Microseconds since 1970 of an age (``24h``, ``7d``), ``today``, ``yesterday``, a day, or a day and time in
    ``zone``; None: since ever.

    Raises:
        ValueError: it is none of these.
    """
    if text == EVER:
        return None
    if text in DAYS:
        day = now.astimezone(zone).date() - timedelta(days=DAYS[text])
        return int(datetime.combine(day, time(), zone).timestamp() * 1e6)
    try:
        at = now - timedelta(seconds=parse_duration(text))
    except ValueError:
        at = datetime.fromisoformat(text)
        at = at.replace(tzinfo=zone) if at.tzinfo is None else at
    except OverflowError:
        return None
    return int(at.timestamp() * 1e6)
