"""Whether the journal is what was stored: rows, chain, anchor, a folder put back, the copy before an upgrade.

A data folder that is put back whole agrees with itself. `engine.runtime.other_history` asks the evidence outside of it
(the second anchor, the copies of the backup, the head in the log), and `rollback` compares. The loss becomes one
transaction: an act, a gap in the numbers, open deliveries marked as maybe delivered, and a pause of all deliveries that
a person resumes. After an act that makes the history anew (salvage, accepted loss, rollback) evidence from before it
counts no more (``meta.history_from``).
"""
