"""Erase what is known of persons and earlier values by a message that is erased.

What deletes expired rows of persons, numbers and earlier values.
"""

from contextlib import suppress
from functools import partial

from engine.features.results.rows import delta_history, number_bearers
from engine.features.results.rows.delta_history import sweep_controls, sweep_values
from engine.model.content.results import results_of
from engine.model.errors import IntegrityError, UnreadableResultsError
from engine.store.core.rows import Rows
from engine.store.core.sweeping import sweep
from engine.store.core.writing.batch import Batch
from engine.store.operations.emptying import ErasedAgain, ErasedMessage


def forget(batch: Batch, message: ErasedMessage) -> int:
    """Return the number of deleted earlier values."""
    _forget_bearers(batch, message, batch.now_us, batch.steady_us)
    return _forget_values(batch, message)


def forget_again(rows: Rows, one: ErasedAgain) -> None:
    """After a restore: also its bearers, unless they are restored as they were after the erasure."""
    if not one.is_known:
        _forget_bearers(rows, one.message, one.at_us, one.at_us)
    _forget_values(rows, one.message)


def _forget_bearers(rows: Rows, message: ErasedMessage, now_us: int, steady_us: int) -> None:
    number_bearers.erase(
        rows.execute, message.id, message.patients, person=message.person, now_us=now_us, steady_us=steady_us
    )


def _forget_values(rows: Rows, message: ErasedMessage) -> int:
    gone = 0
    select = "SELECT id, body FROM document WHERE message_id = ?"
    for document_id, sealed in rows.execute(select, (message.id,)).fetchall():
        with suppress(IntegrityError, UnreadableResultsError, ValueError):
            opened = rows.vault.open(sealed, "document", document_id, message.channel)
            gone += delta_history.forget(rows, results_of(opened))
    return gone


EVERY = (partial(sweep, table="bearer", key=("number", "whole")), sweep_values, sweep_controls)
