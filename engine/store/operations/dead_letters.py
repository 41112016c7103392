"""Dead letters in groups of one reason, one cause and one destination, each with its likely fix, by fingerprints.

A thousand dead letters after a server upgrade are one problem. A cause is the rule and the field, without the
repetition; where no rule failed, it is our words about the failure, once the varying parts are removed from them: the
message, the resource, the time. It never has text of a device or a server.

    lab.yaml:31 OBX[3]-3                }   lab.yaml:31 OBX-3
    lab.yaml:31 OBX[11]-3               }

A letter's detail is sealed; `cause_of` derives the cause from it. Keyed hashes of the cause and of the channel are
stored in clear beside the reason. Letters with equal hashes are counted together, and the text is opened once per cause
(`engine.features.rework.rows.letter_groups`). A row without hashes has to be opened on its own there, so rows that a
restoration or a salvage has made get theirs in small steps.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.model.tables import table_lines
from engine.model.texts.named_settings import PATTERN, settings_in
from engine.model.texts.reasons import ReasonCode
from engine.store.core.notes import opened_note

if TYPE_CHECKING:
    from engine.store.core.writing.batch import Batch


LONGEST_CAUSE = 160

_REPETITION = re.compile(r"\[\d+\]")
# Kept as they are: statuses, settings, places, files with their lines. Then follow the parts that are removed.
_PARTS = re.compile(
    rf"(?P<kept>HTTP \d{{3}}|{PATTERN}|\b[A-Z][A-Z0-9]{{0,2}}-\d+(?:\.\d+)*|[\w./-]+\.ya?ml:\d+)"
    r"|(?P<id>\b[A-Z][A-Za-z]+/[A-Za-z0-9.-]{8,})"
    r"|(?P<number>\d+)"
)

_RETRY = "labrelay dlq retry --code {code}{channel}"
_AGAIN = "then: " + _RETRY
_TEXTS = {
    "retry": _RETRY,
    "again": _AGAIN,
    "send_again": "have the analyzer send it again, then: labrelay dlq dismiss --code {code}{channel} --reason TEXT",
    "mapping": "extend the mapping or its tables, `labrelay reload`, " + _AGAIN,
}
_FIXES = {
    ReasonCode[code]: text for code, _, text in (one.partition(": ") for one in table_lines(__file__, "fixes.txt"))
}


@dataclass(slots=True)
class Group:
    """Dead letters of one reason, cause and destination.

    Attributes:
        destination: empty: messages, which have none.
        example: the newest of their messages.
        retrying: letters that a person has tried again, and that are under way to the destination; not counted.
        back: of those counted, how many a person has tried again.
        retries: how often one of these was tried again, at most.
        last_retry_us: when a person last did; 0: never, of letters that are not delivered.
        new: of those counted, how many were never tried again, and came later than the last retry.
    """

    reason: str
    cause: str
    destination: str = ""
    count: int = 0
    oldest_us: int = 0
    newest_us: int = 0
    channels: set[str] = field(default_factory=set)
    example: int = 0
    retrying: int = 0
    back: int = 0
    retries: int = 0
    last_retry_us: int = 0
    new: int = 0

    @property
    def fix(self) -> str:
        return likely_fix(self.reason, *self.channels) if len(self.channels) == 1 else likely_fix(self.reason)


class Groups:
    """Counts dead letters by group."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str, str], Group] = {}

    def add(
        self,
        reason: str,
        cause: str,
        count: int,
        oldest_us: int,
        newest_us: int,
        message: int,
        *,
        channel: str,
        destination: str = "",
    ) -> None:
        """Count dead letters of one reason, cause, channel and destination.

        Args:
            cause: as `cause_of` returns it.
            message: the newest of their messages.
        """
        group = self._group(reason, cause, destination)
        group.count += count
        group.oldest_us = min(group.oldest_us or oldest_us, oldest_us)
        group.newest_us = max(group.newest_us, newest_us)
        group.channels.add(channel)
        group.example = max(group.example, message)

    def add_retried(
        self,
        reason: str,
        cause: str,
        *,
        dead: bool,
        count: int,
        retries: int,
        last_us: int,
        message: int,
        channel: str,
        destination: str = "",
    ) -> None:
        """Note letters of a group that a person has tried again.

        Args:
            dead: they came back; else they are under way.
            retries: the most of one letter.
            last_us: when a person last did.
        """
        group = self._group(reason, cause, destination)
        group.channels.add(channel)
        group.example = group.example or message
        group.last_retry_us = max(group.last_retry_us, last_us)
        if dead:
            group.back += count
            group.retries = max(group.retries, retries)
        else:
            group.retrying += count

    def _group(self, reason: str, cause: str, destination: str) -> Group:
        key = reason, cause, destination
        return self._groups.setdefault(key, Group(*key))

    def largest_first(self) -> list[Group]:
        return sorted(
            self._groups.values(), key=lambda group: (-group.count, group.reason, group.cause, group.destination)
        )


def by_cause(groups: Iterable[Group]) -> list[Group]:
    """The same letters in groups of one reason and cause, over all destinations, the largest first."""
    found: dict[tuple[str, str], Group] = {}
    for one in groups:
        if one.count:  # else all are under way
            group = found.setdefault((one.reason, one.cause), Group(one.reason, one.cause))
            group.count += one.count
            group.oldest_us = min(group.oldest_us or one.oldest_us, one.oldest_us)
            group.newest_us = max(group.newest_us, one.newest_us)
            group.channels |= one.channels
            group.example = max(group.example, one.example)
    return sorted(found.values(), key=lambda group: (-group.count, group.reason, group.cause))


def cause_of(detail: str, issues: Iterable[Mapping[str, Any]] = ()) -> str:
    """What all dead letters of the same cause share: the rule and the field that the first deadly issue names, and
    without one the detail, which is in words of ours, without its varying parts.

    Args:
        issues: of the mapping, as the note of a message has them.
    """
    for issue in issues:
        if issue.get("severity") == "dead" and (named := f"{issue.get('rule', '')} {issue.get('place', '')}".strip()):
            settings = "".join(f" `{setting}`" for setting in settings_in(issue.get("text", "")))
            return _shortened(f"{_REPETITION.sub('', named)}{settings}")
    return _shortened(_PARTS.sub(_common, _REPETITION.sub("", detail)))


def _shortened(text: str) -> str:
    """Cut behind a word, with dots."""
    head, _, _ = text[: LONGEST_CAUSE - 3].rpartition(" ")
    return text.strip() if len(text) <= LONGEST_CAUSE else f"{head or text[: LONGEST_CAUSE - 4]} ..."


def likely_fix(code: str, channel: str = "") -> str:
    """The usual fix, with the command; empty for a code that this version does not know."""
    reason = next((reason for reason in ReasonCode if reason.value == code), None)
    if reason is None:
        return ""
    words = {"code": code, "channel": f" --channel {channel}" if channel else "", "name": channel or "NAME"}
    texts = {name: text.format(**words) for name, text in _TEXTS.items()}
    return _FIXES.get(reason, _RETRY).format(**words, **texts)


def _common(part: re.Match[str]) -> str:
    if part["kept"]:
        return part[0]
    return f"{part[0].partition('/')[0]}/..." if part["id"] else "#"


SWEEP_ROWS = 100


def sweep(batch: "Batch") -> bool:
    """Fingerprint the next letters that have none; return True once all have one."""
    messages = batch.execute(
        "SELECT s.id, j.channel, s.detail FROM message_state s INDEXED BY message_cause"
        " CROSS JOIN journal j ON j.id = s.id"
        " WHERE s.state IN ('dead', 'incomplete') AND s.cause_token IS NULL LIMIT ?",
        (SWEEP_ROWS,),
    ).fetchall()
    deliveries = batch.execute(
        "SELECT d.id, l.channel, d.detail FROM delivery d INDEXED BY delivery_cause CROSS JOIN lane l ON l.id = d.lane"
        " WHERE d.state = 'dead' AND d.cause_token IS NULL LIMIT ?",
        (SWEEP_ROWS,),
    ).fetchall()
    for table, rows in (("message_state", messages), ("delivery", deliveries)):
        for row_id, channel, sealed in rows:
            told = opened_note(batch.vault, sealed, table, row_id, channel)
            note(batch, table, row_id, channel, str(told.get("detail", "")), told.get("issues", ()))
    return len(messages) < SWEEP_ROWS and len(deliveries) < SWEEP_ROWS


def note(
    batch: "Batch", table: str, row_id: int, channel: str, detail: str, issues: Iterable[Mapping[str, Any]] = ()
) -> None:
    """Store the fingerprint of a message (``message_state``) or a ``delivery`` that became a dead letter; ``issues`` as
    for `cause_of`.
    """
    token = batch.vault.cause_token(channel, cause_of(detail, issues))
    batch.execute(f"UPDATE {table} SET cause_token = ? WHERE id = ?", (token, row_id))  # noqa: S608 - of the schema
