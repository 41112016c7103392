"""Warnings that name a setting of their channel (`engine.model.texts.named_settings`), counted for the to-do list.

The counter of a day has the configuration, the warning and the settings in its name: a file that is changed since may
have settled it.
"""

from typing import NamedTuple

from engine.config.load import Site
from engine.model.process.clock import from_us
from engine.model.texts.named_settings import settings_in
from engine.store.operations.recording import Recording
from engine.store.queries.reader import Reader

DAYS = 7
MOST, LONGEST = 10, 120  # warnings of a message; signs of their settings
_COUNTER, _BETWEEN = "setting", "\t"  # the parts of a name
_DAY_US = 86_400_000_000


class NamedSettings(NamedTuple):
    """Settings that would settle a warning, and how many messages of the last week had it.

    Attributes:
        settings: as the file of the channel has them; one of them is right.
    """

    channel: str
    code: str
    settings: tuple[str, ...]
    messages: int


def note(now: Recording) -> None:
    """Count the settings that the warnings of a message name."""
    named: dict[str, list[str]] = {}
    for issue in now.issues:
        if "`" in issue.text:
            named.setdefault(issue.code, []).extend(settings_in(issue.text))
    for code, settings in [*named.items()][:MOST]:
        text = _BETWEEN.join(dict.fromkeys(settings))
        if 0 < len(text) <= LONGEST:
            now.batch.count(now.channel, "", _BETWEEN.join((_COUNTER, now.batch.config_hash, code, text)))


def named_settings(reader: Reader, now_us: int, site: Site) -> list[NamedSettings]:
    """What was counted with this configuration of the site, or an earlier one where the channel has none of the
    settings since."""
    since = from_us(now_us - DAYS * _DAY_US).date().isoformat()
    rows = reader.rows(
        "SELECT channel, name, sum(n) FROM counter WHERE day >= ? AND destination = '' AND name GLOB ?"
        " GROUP BY channel, name ORDER BY channel, name",
        (since, f"{_COUNTER}{_BETWEEN}*"),
    )
    counts: dict[tuple[str, str], int] = {}
    named: dict[tuple[str, str], list[str]] = {}
    for channel, name, messages in rows:
        _, configured, code, *settings = name.split(_BETWEEN)
        names = {text.partition(":")[0] for text in settings}
        written = site.channels[channel].settings if channel in site.channels else names
        if configured == site.hash[:12] or names.isdisjoint(written):
            counts[channel, code] = counts.get((channel, code), 0) + messages
            named.setdefault((channel, code), []).extend(settings)
    return [NamedSettings(*key, tuple(dict.fromkeys(named[key])), messages) for key, messages in counts.items()]
