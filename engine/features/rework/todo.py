"""Which dead letters wait for a person."""

from collections.abc import Callable, Sequence

from engine.features.rework.rows.letter_groups import letter_groups
from engine.model.process.clock import from_us
from engine.model.texts.named_settings import settings_in, to_write
from engine.model.texts.phrases import Phrase
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.monitoring.snapshot.states import Level
from engine.monitoring.todo import Entry, Look, Way, named
from engine.store.operations.dead_letters import Group, by_cause


async def entries(look: Look) -> list[Entry]:
    if not look.site.dead_total + look.site.incomplete_total:
        return []
    vault = look.journal.vault
    return of_letters(look.site, await look.read(letter_groups), lambda cause: vault.cause_token("", cause)[:8].hex())


def of_letters(site: SiteSnapshot, letters: Sequence[Group] | None, token: Callable[[str], str]) -> list[Entry]:
    """
    Args:
        letters: None: they cannot be read; then one entry has the count of the snapshot.
        token: a keyed hash of their cause, for the key.
    """
    if letters is None:
        count = site.dead_total + site.incomplete_total
        words = Phrase("Dead letters: {n}", {"n": count})
        step = "labrelay dlq list"
        return [Entry(key="dead", level=Level.ATTENTION, phrase=words, step=step, way=_way("", ""), count=count)]
    return [_letters(group, token) for group in by_cause(letters)]


def _way(code: str, cause: str) -> Way:
    return Way("Look at the dead letters: {n}", "/dead-letters/each", {"code": code, "cause": cause})


def _letters(group: Group, token: Callable[[str], str]) -> Entry:
    words = to_write(Phrase("Dead letters: {n}", {"n": group.count}), settings_in(group.cause))
    channel = next(iter(group.channels)) if len(group.channels) == 1 else ""
    return Entry(
        key=f"dead/{group.reason}" + (f"/{token(group.cause)}" if group.cause else ""),
        level=Level.ATTENTION,
        phrase=named(channel, words) if channel else words,
        step=f"labrelay dlq show {group.example}",
        way=_way(group.reason, group.cause),
        count=group.count,
        since=from_us(group.oldest_us),
        subject=channel,
        code=group.reason,
        cause=group.cause,
    )
