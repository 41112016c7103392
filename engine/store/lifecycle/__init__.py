"""What leaves the journal, and its keys: retention, erasure, a new key-encryption key.

`retention` deletes, a few rows in a transaction that also appends a row of kind 4: its token has a digest of each range
of numbers that is gone, with the chain value to go on from. Table ``pruned`` holds the ranges; a range counts only
where its row proves it. So a hole in the numbers is retention's or a loss, and no key is needed to tell which
(`engine.store.core.pruned_ranges`). A new reason to keep a message goes into ``retention._judge``.

`erasure` seals an empty content in the place of the old one. The row keeps its hash, so chain and anchor stay true; a
record in the chain explains the difference (`engine.store.core.erased_rows`), and all that compares a hash asks it.

`key_rotation` has four steps; a power failure may follow each.
"""
