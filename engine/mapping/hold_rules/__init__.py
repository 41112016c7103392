"""Rules that hold results back (`hold:` of a route): expressions of the mapping language, asked for each result.

values     three-valued logic and numbers that may be bounds      limits    the site's tables of limits
terms      what rules may name and call; expressions to Python    rules     a route's rules, asked about a document

A rule may ask about earlier values, and those are known only in the order of the journal. So it is asked in two steps:
where the message is mapped, perhaps in the worker, the answers about the message are noted as *facts*; in the
transaction that queues the deliveries `engine.features.results.rows.hold_queue` decides with the values and controls
before it. An unknown value holds. A held delivery has its number in the lane and is in no memory, so a crash changes
nothing about it and no lane waits for it. On a release `engine.features.results.rows.superseding` looks which of its
results newer messages have had delivered meanwhile, and once more before it is sent.
"""
