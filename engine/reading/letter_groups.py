"""Dead letters in groups of one reason and cause, counted by the index on their causes (`engine.causes`).

One letter of each group is opened, for the words of its cause; a channel's letters of one cause are one group there,
and groups of several channels are put together by their words. Letters whose cause was not noted yet are opened each.
"""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import orjson

from engine.errors import IntegrityError
from engine.letters import Group, Groups
from engine.listing import letter_terms
from engine.records import Filter

if TYPE_CHECKING:
    from engine.vault import Vault

Execute = Callable[..., sqlite3.Cursor]

# As the indexes say it, word for word, or SQLite does not see that one fits.
_MESSAGES = "message_state s INDEXED BY message_cause"
_DEAD_MESSAGES = "s.state IN ('dead', 'incomplete')"
_DELIVERIES = "delivery d INDEXED BY delivery_cause"
_DEAD_DELIVERIES = "d.state = 'dead'"


def find(execute: Execute, vault: "Vault | None", wanted: Filter) -> list[Group]:
    """All dead letters that fit, in groups, the largest first.

    Args:
        vault: None where the keys are not at hand: then causes stay unknown, and letters are grouped by reason.
    """
    groups = Groups()
    if wanted.destination is None:
        _add_messages(execute, vault, wanted, groups)
    _add_deliveries(execute, vault, wanted, groups)
    return groups.largest_first()


def _add_messages(execute: Execute, vault: "Vault | None", wanted: Filter, groups: Groups) -> None:
    by_token, values = _terms(execute, replace(wanted, channel=None), "s.id", "s.state", "s.reason")
    rows = execute(
        "SELECT s.reason, count(*), min(s.at_us), max(s.at_us), max(s.id)"  # noqa: S608 - constants
        f" FROM {_MESSAGES}{_joined(wanted, 's.id')} WHERE {_DEAD_MESSAGES} AND s.cause_token IS NOT NULL"
        f" AND {by_token} GROUP BY s.cause_token, s.reason",
        values,
    ).fetchall()
    each, values = _terms(execute, wanted, "s.id", "s.state", "s.reason")
    rows += execute(
        f"SELECT s.reason, 1, s.at_us, s.at_us, s.id FROM {_MESSAGES} CROSS JOIN journal j ON j.id = s.id"  # noqa: S608
        f" WHERE {_DEAD_MESSAGES} AND s.cause_token IS NULL AND {each}",
        values,
    ).fetchall()
    for reason, count, oldest_us, newest_us, message in rows:
        channel, sealed = execute(
            "SELECT j.channel, s.detail FROM message_state s CROSS JOIN journal j ON j.id = s.id WHERE s.id = ?",
            (message,),
        ).fetchone()
        if wanted.channel in (None, channel):
            detail = _opened(vault, sealed, "message_state", message, channel)
            groups.add(
                reason, detail, count=count, oldest_us=oldest_us, newest_us=newest_us, channel=channel, message=message
            )


def _add_deliveries(execute: Execute, vault: "Vault | None", wanted: Filter, groups: Groups) -> None:
    lanes = {
        lane: (channel, destination)
        for lane, channel, destination in execute("SELECT id, channel, destination FROM lane")
        if wanted.channel in (None, channel) and wanted.destination in (None, destination)
    }
    where, values = _terms(execute, replace(wanted, channel=None), "d.message_id", "d.state", "d.cause")
    source = f"FROM {_DELIVERIES}{_joined(wanted, 'd.message_id')} WHERE {_DEAD_DELIVERIES} AND {where}"
    rows = execute(
        "SELECT d.cause, d.lane, count(*), min(d.settled_us), max(d.settled_us), max(d.message_id), max(d.id)"
        f" {source} AND d.cause_token IS NOT NULL GROUP BY d.cause_token, d.cause, d.lane",
        values,
    ).fetchall()
    rows += execute(
        f"SELECT d.cause, d.lane, 1, d.settled_us, d.settled_us, d.message_id, d.id {source} AND d.cause_token IS NULL",
        values,
    ).fetchall()
    for reason, lane, count, oldest_us, newest_us, message, delivery in rows:
        if lane not in lanes:
            continue
        channel, destination = lanes[lane]
        (sealed,) = execute("SELECT detail FROM delivery WHERE id = ?", (delivery,)).fetchone()
        groups.add(
            reason,
            _opened(vault, sealed, "delivery", delivery, channel),
            count=count,
            oldest_us=oldest_us,
            newest_us=newest_us,
            channel=channel,
            destination=destination,
            message=message,
        )


def _terms(execute: Execute, wanted: Filter, number: str, state: str, reason: str) -> tuple[str, list[object]]:
    return letter_terms(execute, wanted, None, number=number, state=state, reason=reason)


def _joined(wanted: Filter, number: str) -> str:
    """The journal is looked at only where times or a type are asked for: the index knows all else."""
    asked = (wanted.after_us, wanted.before_us, wanted.message_type)
    return "" if asked == (None, None, None) else f" CROSS JOIN journal j ON j.id = {number}"


def _opened(vault: "Vault | None", sealed: bytes, table: str, row_id: int, channel: str) -> str:
    """A letter's detail; empty where it has none, or cannot be opened: `labrelay verify` says what is wrong."""
    if vault is not None and sealed:
        with suppress(IntegrityError):
            return str(orjson.loads(vault.open(sealed, table, row_id, channel)).get("detail", ""))
    return ""
