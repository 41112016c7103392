"""Count what rules say, in the transaction that records the outcome, and what a person decides of it.

A message counts once, by its first outcome. A decision is about a document: it confirms or overturns each rule with a
hit in it, a shadow, too; the first one counts. What newer results close was decided by no person.
"""

from collections import Counter
from collections.abc import Sequence

from engine.model.journal.records import RuleAnswer, Rules
from engine.store.core.writing.batch import Batch

DAY_US = 86_400_000_000
KEPT_DAYS = 800  # as the counts of results
TESTS = 300  # of one channel and day; those beyond are counted as ''

Asked = tuple[int, Rules, bool]
"""Ordinal of a document, its rules, and whether it is held."""

_ADD = (
    "INSERT INTO rule_day (day, channel, rule, version, shadow, changed_us, seen, hit, unknown, confirmed, overturned)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET changed_us = excluded.changed_us,"
    " seen = seen + excluded.seen, hit = hit + excluded.hit, unknown = unknown + excluded.unknown,"
    " confirmed = confirmed + excluded.confirmed, overturned = overturned + excluded.overturned"
)
_ADD_TEST = (
    "INSERT INTO rule_test_day (day, channel, test, changed_us, seen, touched) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET changed_us = excluded.changed_us, seen = seen + excluded.seen,"
    " touched = touched + excluded.touched"
)
_HIT = (
    "INSERT OR IGNORE INTO rule_hit (message_id, ordinal, rule, version, shadow, day, channel)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
# Of the newest documents of a message: what became of each that a person has decided about.
_DECIDED = (
    "SELECT o.ordinal, max(d.state = 'rejected') FROM document o JOIN delivery d ON d.document_id = o.id"
    " WHERE o.message_id = ?1 AND o.revision = (SELECT max(revision) FROM document WHERE message_id = ?1)"
    " AND d.state IN ('rejected', 'waiting', 'sending', 'delivered') GROUP BY o.ordinal"
)


def count(batch: Batch, message_id: int, channel: str, received_us: int, asked: Sequence[Asked]) -> None:
    """Count a message with its first outcome."""
    day, now_us = batch.day_of(received_us), batch.now_us
    for ordinal, rules, is_held in asked:
        batch.executemany(
            _ADD,
            [
                (
                    day,
                    channel,
                    one.rule,
                    one.version,
                    one.shadow,
                    now_us,
                    one.seen,
                    len(one.hit),
                    len(one.unknown),
                    0,
                    0,
                )
                for one in rules.answers
            ],
        )
        if is_held:
            batch.executemany(_HIT, [(message_id, ordinal, *_key(one), day, channel) for one in _hits(rules)])
    _count_tests(batch, day, channel, asked)
    batch.execute("DELETE FROM rule_day WHERE day < ?", (batch.day_of(batch.steady_us - KEPT_DAYS * DAY_US),))
    batch.execute("DELETE FROM rule_test_day WHERE day < ?", (batch.day_of(batch.steady_us - KEPT_DAYS * DAY_US),))


def again(batch: Batch, message_id: int, asked: Sequence[Asked]) -> None:
    """A message was processed again: its counts stay. A person decides about its new documents, for the rules that had
    a hit before and have one now."""
    rows = batch.execute(
        "DELETE FROM rule_hit WHERE message_id = ? RETURNING rule, version, shadow, day, channel", (message_id,)
    ).fetchall()
    counted = {(rule, version, bool(shadow)): at for rule, version, shadow, *at in rows}
    for ordinal, rules, is_held in asked if counted else ():
        found = [one for one in _hits(rules) if is_held and _key(one) in counted]
        batch.executemany(_HIT, [(message_id, ordinal, *_key(one), *counted[_key(one)]) for one in found])


def decided(batch: Batch, message_id: int) -> None:
    """A person has decided about a delivery of this message."""
    mine = "SELECT 1 FROM rule_hit WHERE message_id = ? LIMIT 1"
    if batch.execute(mine, (message_id,)).fetchone() is None:
        return
    for ordinal, is_rejected in batch.execute(_DECIDED, (message_id,)).fetchall():
        rows = batch.execute(
            "DELETE FROM rule_hit WHERE message_id = ? AND ordinal = ? RETURNING day, channel, rule, version, shadow",
            (message_id, ordinal),
        ).fetchall()
        fate = (1, 0) if is_rejected else (0, 1)
        batch.executemany(_ADD, [(*row, batch.now_us, 0, 0, 0, *fate) for row in rows])


def _key(one: RuleAnswer) -> tuple[str, str, bool]:
    return one.rule, one.version, one.shadow


def _hits(rules: Rules) -> list[RuleAnswer]:
    return [one for one in rules.answers if one.hit]


def _count_tests(batch: Batch, day: str, channel: str, asked: Sequence[Asked]) -> None:
    """A result in the documents of several routes is one."""
    seen, touched = Counter[str](), Counter[str]()
    for _, rules, is_held in asked:
        tests = Counter(rules.tests)
        seen |= tests
        if is_held:
            touched |= tests
    if not seen:
        return
    rows = batch.execute("SELECT test FROM rule_test_day WHERE day = ? AND channel = ?", (day, channel)).fetchall()
    known = {test for (test,) in rows}
    for test, n in seen.items():
        place = test if test in known or len(known) < TESTS else ""
        known.add(place)
        batch.execute(_ADD_TEST, (day, channel, place, batch.now_us, n, touched[test]))
