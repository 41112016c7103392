"""Erase what is known of persons and earlier values by a message that is erased, and its facts.

What deletes expired rows of persons, numbers and earlier values.
"""

from functools import partial

from engine.features.results.rows import delta_history, facts, number_bearers
from engine.features.results.rows.delta_history import sweep_controls, sweep_values
from engine.store.core.connecting import Rows
from engine.store.core.sweeping import sweep
from engine.store.core.writing.batch import Batch
from engine.store.operations.emptying import ErasedAgain, ErasedMessage


def forget(batch: Batch, message: ErasedMessage) -> int:
    """Return the number of deleted earlier values."""
    facts.forget(batch.execute, message.id)
    _forget_bearers(batch, message, batch.now_us, batch.steady_us)
    return delta_history.forget(batch, message.id)


def forget_again(rows: Rows, one: ErasedAgain) -> None:
    """After a restore: also its bearers, unless they are restored as they were after the erasure."""
    facts.forget(rows.execute, one.message.id)
    if not one.is_known:
        _forget_bearers(rows, one.message, one.at_us, one.at_us)
    delta_history.forget(rows, one.message.id)


def _forget_bearers(rows: Rows, message: ErasedMessage, now_us: int, steady_us: int) -> None:
    number_bearers.erase(
        rows.execute, message.id, message.patients, person=message.person, now_us=now_us, steady_us=steady_us
    )


EVERY = (partial(sweep, table="bearer", key=("number", "whole")), sweep_values, sweep_controls)
