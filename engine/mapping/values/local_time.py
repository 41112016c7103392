"""Dates and times of HL7 v2 and ASTM to FHIR's, with the precision that was sent.

    YYYY[MM[DD[HH[MM[SS[.S]]]]]][+/-ZZZZ]

Rules: a year stays a year; an hour without minutes becomes the day; a minute gets ``:00``; ``00`` parts cut the
precision; all zeros are absent. The offset is the field's own, else that of the message's time, else the channel's
zone at that local time. Never the server's zone, never Z by default.
"""

import calendar
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

_TIME = re.compile(r"(\d{4})(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(\.\d{1,9})?)?)?)?)?)?([+-]\d{4})?", re.ASCII)

_MAX_HOURS = 1024
FIRST_YEAR = "1980"  # of an event, where the channel says no other (setting `first_year`): no analyzer is older
FIRST_BIRTH = "1850"
_AHEAD = timedelta(days=1)  # an event may be later than its receipt by this, as clocks and zones differ
_CLOCKS_DIFFER = timedelta(days=10)  # a clock that went on from its last stop is behind by so much
_BUILT = 2026  # a clock of ours that says an earlier year is wrong, so that it refuses no time of this one
_CENTURY = 100  # a clock of an analyzer that is so far ahead has another calendar (2569 for 2026)

Warn = Callable[[str, str, str], None]


def silent(code: str, text: str, sent: str) -> None:
    """Where a time decides nothing that a person should see."""


class LocalTimes:
    """Times of one message: its own offset and its channel's zone apply where a field names none.

    Args:
        message_time: MSH-7 or H-14, as sent.
        zone: IANA name.
        bounds: the first year and the last time that an event may have (`bounds_of_events`); a birth may be earlier.
        impossible: times that no event has, as sent.
        warn: called with a code and a text for what had to be decided, and the time as it was sent.
    """

    def __init__(
        self,
        message_time: str,
        zone: str,
        warn: Warn,
        bounds: tuple[str, str] = ("0001", "9999"),
        impossible: frozenset[str] = frozenset(),
    ) -> None:
        self._impossible = impossible
        self._first, self._last = bounds
        self.message_time = message_time
        self._zone = zone
        self._warn = warn
        self.message_offset = message_time[-5:] if message_time[-5:-4] in ("+", "-") else ""
        # Within one message every segment has the same few times.
        self._dates: dict[str, str] = {}
        # Fields as they were sent -> dateTime, filled in by generated code.
        self.sent: dict[str, str] = {}
        self.events_sent: dict[str, str] = {}
        self._hours = _hours_of(zone, self.message_offset)
        self._whole_hour = False  # the offset found last holds for the whole hour

    def warn_no_more(self) -> None:
        """Drop the reference to the owner, which holds these times: else both live until a garbage collection."""
        self._warn = silent

    def datetime(self, text: str) -> str | None:
        """FHIR dateTime with the precision of ``text``; None where it is no time or says nothing."""
        found = self._dates.get(text)
        if found is not None:
            return found
        if len(text) == 19 and text[14:] == self.message_offset:
            found = self.datetime(text[:14])  # it would be given this offset anyway
            if found is not None:
                self._dates[text] = found
            return found
        if len(text) == 14 and text.isdigit() and text.isascii() and text[10:12] < "60" and text[12:] < "60":
            hour = self._hours.get(text[:10])
            if hour is not None:
                found = self._dates[text] = f"{hour[0]}{text[10:12]}:{text[12:]}{hour[1]}"
                return found
        found = self._datetime(text)
        if found is None:
            return None  # not kept: one who asks again is warned again, and keeps nothing either
        self._dates[text] = found
        if self._whole_hour and len(found) == 25 and len(text) >= 10:
            if len(self._hours) >= _MAX_HOURS:
                self._hours.clear()
            self._hours[text[:10]] = (found[:14], found[19:])
        return found

    def instant(self, text: str) -> str | None:
        """FHIR instant; None where ``text`` has no seconds."""
        found = self.datetime(text)
        # YYYY-MM-DDTHH:MM:SS and an offset; a minute got its :00 padded and so has 12 digits only.
        length = len(text.partition(".")[0].partition("+")[0].partition("-")[0])
        return found if found is not None and len(found) >= 20 and length >= 14 else None

    def date(self, text: str) -> str | None:
        """FHIR date: the date part with its precision."""
        if len(text) == 8 and text.isdecimal() and text.isascii():
            month, day = text[4:6], text[6:]
            if "01" <= month <= "12" and "01" <= day <= "28" and not text.startswith("0000"):
                return f"{text[:4]}-{month}-{day}"
        found = self.datetime(text)
        return found and found[:10]

    def event(self, text: str) -> str | None:
        """The dateTime at which something was measured, collected, reported or sent; None, with a warning, where it
        is too early (a time of day without its day, 1015; a clock that was reset) or to come (another calendar)."""
        if text in self._impossible:
            return self._implausible(text)
        if self._first <= text[:4] and text <= self._last:
            return self.datetime(text)
        return self._to_come(text) if text > self._last and self._says_so(text) else self._implausible(text)

    def birth(self, text: str) -> str | None:
        """The date of a birth; None, with a warning, where no patient was born then."""
        return self.date(text) if text[:4] >= FIRST_BIRTH and text <= self._last else self._implausible(text)

    def _implausible(self, text: str) -> str | None:
        found = self.datetime(text)  # which warns of what is no time at all
        if found is not None:
            self._warn("BAD_DATE", "a time at which this cannot have been; left out", text)
        return None

    def _to_come(self, text: str) -> str | None:
        found = self.datetime(text)
        if found is not None:
            words = "later than it came: the clock of the sender or of this machine is wrong; kept"
            self._warn("BAD_DATE", words, text)
        return found

    def _says_so(self, text: str) -> bool:
        """Whether the sender's own clock is as far as this time, and ahead of ours by days: one of the two is wrong,
        and nothing says which one. Where it is ahead by more, it is the sender's, or day and month are swapped."""
        most = self._last
        if len(most) >= 8:
            most = f"{datetime.strptime(most[:8], '%Y%m%d') + _CLOCKS_DIFFER:%Y%m%d}"
        return text[:8] <= self.message_time[:8] <= most

    def period(self, start: str | None, end: str | None) -> dict[str, str] | None:
        """A Period of two times as they were sent, either of which may be absent."""
        ends = (("start", start), ("end", end))
        return {name: at for name, text in ends if text and (at := self.datetime(text))} or None

    def day(self, text: str) -> str:
        """The local calendar day of a time in the channel's zone, ``YYYYMMDD``; empty where there is none."""
        found = self.datetime(text) if text else None
        if found is None or len(found) < 10:
            return ""
        if len(found) > 10 and (self.message_offset or not text.isdigit()) and not self._is_local(found):
            at = datetime.fromisoformat(found).astimezone(_zone(self._zone))
            return f"{at:%Y%m%d}"
        return found[:10].replace("-", "")

    def _is_local(self, found: str) -> bool:
        """Whether a dateTime to the second has the offset that the channel's zone has in that hour, and no other."""
        if len(found) != 25:
            return False
        hour = int(found[:4]), int(found[5:7]), int(found[8:10]), int(found[11:13])
        return _offsets_in_hour(self._zone, *hour) == (found[19:],)

    def second(self, text: str) -> str:
        """A time to the second as it identifies a result of no known patient; empty where there is none."""
        return (self.datetime(text) if text else None) or ""

    def _datetime(self, text: str) -> str | None:
        match = _TIME.fullmatch(text)
        if match is None:
            self._warn("BAD_DATE", "not a date or time of the form YYYYMMDDHHMMSS; left out", text)
            return None
        year, month, day, hour, minute, second, fraction, offset = match.groups()
        if year == "0000":
            if text.strip("0.+-"):
                self._warn("BAD_DATE", "the year is 0000; left out", text)
            return None
        if not month or month == "00":
            return year
        if not 1 <= int(month) <= 12:
            self._warn("BAD_DATE", "there is no such month; left out", text)
            return None
        if not day or day == "00":
            return f"{year}-{month}"
        if int(day) > calendar.monthrange(int(year), int(month))[1]:
            self._warn("BAD_DATE", "there is no such day; left out", text)
            return None
        if hour is None:
            return f"{year}-{month}-{day}"
        if minute is None:
            self._warn("HOUR_ONLY", "a time with an hour and no minutes; only its day was kept", text)
            return f"{year}-{month}-{day}"
        if hour > "23" or minute > "59" or (second or "00") > "59":
            self._warn("BAD_DATE", "there is no such time of day; only the day was kept", text)
            return f"{year}-{month}-{day}"
        where = self._offset(text, offset, int(year), int(month), int(day), int(hour), int(minute))
        return f"{year}-{month}-{day}T{hour}:{minute}:{second or '00'}{fraction or ''}{where}"

    def _offset(self, text: str, own: str, year: int, month: int, day: int, hour: int, minute: int) -> str:
        self._whole_hour = False
        if offset := own or self.message_offset:
            if offset[1:3] <= "14" and offset[3:] <= "59":
                self._whole_hour = offset == self.message_offset
                return f"{offset[:3]}:{offset[3:]}"
            sent = text if own else self.message_time
            self._warn("BAD_OFFSET", "there is no such UTC offset; the channel's zone was used", sent)
        offsets = _offsets_in_hour(self._zone, year, month, day, hour)
        if len(offsets) == 1:
            self._whole_hour = not offset  # else the next time with this offset is warned about as well
            return offsets[0]
        at = datetime(year, month, day, hour, minute, tzinfo=_zone(self._zone))
        if at.utcoffset() != at.replace(fold=1).utcoffset():
            words = "a local time that the change of clocks makes double or missing; first taken"
            self._warn("AMBIGUOUS_TIME", words, text)
        return _offset_text(at.utcoffset() or timedelta(0))


@lru_cache(maxsize=16)
def bounds_of_events(first: str, received: datetime | None, message_time: str, zone: str) -> tuple[str, str]:
    """The first year and the last time that an event of a message may have, as HL7 writes them: a day after receipt.

    Where our clock is behind the year of this program, it is wrong: then times of that year can be, and those of the
    year in which the sender says that it is.

    Args:
        message_time: MSH-7, H-14. zone: of the channel, for times without an offset.
    """
    if received is None:
        return first, "9999"
    at = (received.astimezone(_zone(zone)) + _AHEAD).isoformat()  # five times as fast as `strftime`
    last = f"{at[:4]}{at[5:7]}{at[8:10]}{at[11:13]}{at[14:16]}{at[17:19]}"
    year = _BUILT
    if received.year < _BUILT and re.match(r"[0-9]{4}", message_time):
        said = int(message_time[:4])
        year = said if said < _BUILT + _CENTURY else year
    return first, max(last, f"{max(year, _BUILT)}1231235959")


@lru_cache(maxsize=64)
def _hours_of(zone: str, offset: str) -> dict[str, tuple[str, str]]:
    """YYYYMMDDHH -> (YYYY-MM-DDTHH:, offset) for hours of a zone in which no clock changes.

    Kept beyond a message: results of one hour come one after the other. Minutes and seconds are never kept.
    """
    return {}


@lru_cache(maxsize=512)
def _offsets_in_hour(zone: str, year: int, month: int, day: int, hour: int) -> tuple[str, ...]:
    """The UTC offsets of a local hour: one, but for hours in which clocks change."""
    start = datetime(year, month, day, hour, tzinfo=_zone(zone))
    found = {
        _offset_text(at.replace(fold=fold).utcoffset() or timedelta(0)): None
        for at in (start, start + timedelta(minutes=59, seconds=59))
        for fold in (0, 1)
    }
    return tuple(found)


def parse_instant(text: str) -> datetime | None:
    """The aware instant of a FHIR dateTime with an offset, else None."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo is not None else None


@lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)


def _offset_text(offset: timedelta) -> str:
    minutes = round(offset.total_seconds() / 60)
    sign = "-" if minutes < 0 else "+"
    return f"{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
