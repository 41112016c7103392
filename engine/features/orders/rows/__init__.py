"""The worklist: the orders of laboratory systems, test by test, and the answers that analyzers got.

taking      orders in: new, change, cancel, hold, release, rerun
answering   questions of analyzers, and what became of each answer
downloading orders that go out unasked
acting      acts of a person on single orders
matching    results without an order, and the order that a person says one is of
closing     results, and the end of an item's time
self_made   orders that an analyzer made itself: a reflex, a test ordered at it
holding     results that wait for a person, or were given up
earlier     what is unknown after a backup was restored
erasing     orders of a patient whose data is erased
naming      the orders of results, for their documents
items       the rows; the one place where an item changes

The rules are pure, in `engine.features.orders.rules.order_rules`. Each change of an item is one row of ``order_event``,
in the same transaction.
"""

from engine.features.orders.rows.acting import cancel, release, resend
from engine.features.orders.rows.announcing import note_answer
from engine.features.orders.rows.answering import answer, confirmed, explain, not_offered, offered, recover, told
from engine.features.orders.rows.closing import expire, result
from engine.features.orders.rows.downloading import download, taken_back
from engine.features.orders.rows.matching import match, unmatch
from engine.features.orders.rows.taking import take_orders

__all__ = (
    "answer",
    "cancel",
    "confirmed",
    "download",
    "expire",
    "explain",
    "match",
    "not_offered",
    "note_answer",
    "offered",
    "recover",
    "release",
    "resend",
    "result",
    "take_orders",
    "taken_back",
    "told",
    "unmatch",
)
