"""Settle a document against earlier accepted ones for the same orders: echoes, corrections, withdrawals, questions to a
person. `engine.succession` has the rules; this folder applies them to stored data.

A mapping sees one message alone. Only the order of the journal shows whether its results were sent before, take one
back, change a final result or correct one under another id. So the transaction that records the outcome decides it:

    judged           the facts of the message, after those of its orders: what each result is
    applying         its documents say so, each result by its place: lists and HL7 v2; `bundles` those in FHIR
      sent           what receivers have, and which Observation each result of a message is there
      reports        pure: the status of each report that lists a changed result
      moved_orders   an order that goes to another patient

A message is not mapped a second time for it: the Bundle is changed (resources left out, statuses, ids), so one place
serves live messages, retries and `reprocess`. A status that is not the sender's has the sender's in ``meta.tag``. Each
kind of document has one entry in `engine.succession.kinds`; a document without an entry is never changed. The key of a
report is 12 bytes of its number and 4 of its day, so neighbouring days are a range. A document that cannot be read, a
1,001st message of an order, and too many results of one test hold the new document (``NOT_COMPARED``).

`report_lists` joins the list of a report right before it is sent, with the results that this lane *has* delivered:
a receiver refuses references to resources that it never got.

The tables of persons, numbers, earlier values and facts, and how each comes back with a backup.
"""

from engine.feature import Table

# A deleted row shows nothing, so all rows of a number that has a change go into the copy.
_OF_NUMBERS = "SELECT number FROM main.{} WHERE noted_us >= :since UNION SELECT key FROM state.report_key"

TABLES = (
    Table(
        name="bearer",
        copied=_OF_NUMBERS.format("bearer"),
        by="number",
        sealed="SELECT 'bearer', number, '', record FROM bearer WHERE record <> x''",
    ),
    Table(
        name="bearer_asked",
        sealed="SELECT 'bearer', number, '', record FROM bearer_asked WHERE record <> x''",
    ),
    Table(name="used_number", copied=_OF_NUMBERS.format("used_number"), by="number"),
    Table(
        name="earlier_value",
        copied="SELECT run FROM main.earlier_value WHERE kept_us >= :since"
        " OR id > (SELECT number FROM known.highest WHERE name = 'earlier_value')",
        by="run",
        numbered=True,
        sealed="SELECT 'earlier_value', id, '', value FROM earlier_value",
    ),
    Table(
        name="fact",
        copied="SELECT f.* FROM state.touched t JOIN main.fact f ON f.message_id = t.id",
        sealed="SELECT 'fact', message_id, '', content FROM fact",
    ),
    Table(
        name="fact_number",
        copied="WITH RECURSIVE part (number, message_id, rest) AS (SELECT substr(numbers, 1, 11), message_id,"
        " substr(numbers, 12) FROM state.fact UNION ALL SELECT substr(rest, 1, 11), message_id, substr(rest, 12)"
        " FROM part WHERE length(rest) > 0) SELECT number, message_id FROM part WHERE number <> x''",
    ),
    Table(name="control_result", copied="SELECT * FROM main.control_result WHERE at_us >= :since - :day"),
)
