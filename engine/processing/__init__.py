"""From a stored message to its outcome: parse, route and map (`process`), in journal order (`intake`), until it is
durable (`committing`).

Messages wait in memory up to 2,048 or 8 MiB; beyond that only their rows exist, and intake reads them back in order. A
start is the same: intake reads the messages without a state. After an end that was not in order it takes the first 513
one at a time, and notes in the journal which one it begins with: a message that three starts in a row have noted is
dead, ``MAPPING_FAULT`` (`engine.store.operations.poison_message`).

A large message (over 1 MiB, or with thousands of segments or escapes) is processed in a process of its own
(`engine.runtime.large`), since single steps of it hold the interpreter for hundreds of milliseconds. The
next ones of its channel wait for it, other channels' take turns meanwhile (`turns`, which asks `names`), as they do
while messages wait for more than a second: no channel holds back another.

`reprocessing` processes stored messages anew and compares with the documents that were delivered. A document that
differs is a new revision with delivery keys of its own, marked manual, so `engine.features.results.rows.superseding`
looks at it before it is sent. The act keeps no place: a document that was sent differs no more.
"""
