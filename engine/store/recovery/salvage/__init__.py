"""Copy every readable row of a damaged journal into a new one, and report exactly which are missing.

The damaged files are only read. The new journal keeps all numbers: each row has the same number, hash and sealed bytes
as before. Only the chain cannot be kept, for it runs through the missing rows: it is computed anew, and the missing
numbers become gaps that an audit row explains (person, time, reason, numbers). So the new journal is consistent,
`labrelay verify` finds no problem in it, and no number is ever given again.

Which rows are accepted, and what follows:

- A row is accepted if its content is proven: by its hash, or, where only the hash was damaged, by the seal of its
  columns.
- A delivery is accepted only with its message and its document, and where its key proves that they belong together. A
  message whose deliveries are lost is processed again. Its deliveries have the same keys, so a server that has them
  recognises them; they are not sent where a newer message has had the same results delivered. A message that a person
  has dismissed or rejected stays closed, also where only the audit trail still shows it.
- A pruned range stays pruned where an intact record attests it; the new journal gets a new record. A range without an
  intact record counts as missing.
- An order of the worklist is accepted with its proven content (`orders`).
- Tallies are counted anew. Short-lived tables (repeats, earlier values, line traces) are copied as far as they are
  readable: a lost entry costs a warning, or a result sent twice under one key, never a result.

found      copied and missing rows, as values and for people
tables     a damaged file read row by row into a new one, also from unreachable pages
proven     the journal's rows, proven ones and missing ones; documents, deliveries, messages to process again
orders     the worklist: proven orders, missing ones, and messages that order these again
tallies    numbers and counts from the remaining rows
saving     all steps in order: `run`
"""
