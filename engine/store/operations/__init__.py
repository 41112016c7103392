"""Operations of the journal: functions of a `Batch`, declared by `engine.store.core.writing.operation` and carried out
by `Journal.run`.

`record_outcome` has each feature go through the moments of an outcome (`recording`). Whose result it is, the results
decide: the mapping gives keyed hashes of the order or specimen number with its day, and of the patient. An order number
that another patient has today (`engine.features.results.rows.report_owners`, 90 days) is dead, ``IDENTITY_CONFLICT``. A
patient number that is another person's (`engine.features.results.rows.number_bearers`, by `engine.model.persons`) is
held until a person answers; a start reads those numbers, and all channels and the worker see them
(``MapContext.others``). A specimen number that the site calls unique has its days in `used_numbers` there: a result
measured far from them is held, under ids of its own.

`search_index` keeps keyed hashes of a message's numbers in blocks of neighbouring messages: an index on random keys
over all messages would write a page of the log for each row. `dead_letters` has a keyed hash that those of one cause
share, so thousands are counted unopened; the writer's upkeep adds it to rows without one.

`incomplete` keeps bytes that never became a message, within limits: of one over ``max_message`` the first 64 KiB and a
hash, once for each peer and content. Beyond ``limits: incomplete`` the content of the oldest is deleted, dismissed ones
first: `emptying` leaves the row, so chain, backups and lists stay whole.

`engine.features.rework.rows.edit_message` journals a person's bytes as a new message behind those before it, and closes
the dead one in the same transaction. `bulk` deals with some members of an operation and moves its place in one
transaction, so an end of the process leaves no gap and no repeat. `servers` has the versions that the resources
of a document had last (``conflicts: check``). `pauses` stores a pause with its audit row. A table of a feature
is declared (`engine.feature.Table`); a new one of the store that refers to messages is cleared in `pruning`.
"""
