"""Integrity of the journal: rows, chain, anchor, a rolled back folder, the copy before an upgrade.

A data folder that is rolled back as a whole agrees with itself. `engine.runtime.upkeep.other_history` collects the
evidence outside of it (the second anchor, the copies of the backup, the head in the log), and `rollback` compares. The
loss becomes one transaction: an audit row, a gap in the numbers, open deliveries marked as maybe delivered, and a pause
of all deliveries that a person resumes. After an action that begins a new history (salvage, accepted loss, rollback)
evidence from before it does not count (``meta.history_from``).
"""
