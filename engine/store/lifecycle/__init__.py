"""Deletion of journal content, and its keys: retention, erasure, a new key-encryption key.

`retention` deletes, a few rows in a transaction that also appends a row of kind 4: its token has a digest of each
removed range of numbers, with the chain value to go on from. Table ``pruned`` holds the ranges; a range counts only
where its row proves it. So a hole in the numbers is retention's or a loss, and the difference needs no key
(`engine.store.core.checks.pruned_ranges`). A feature's reason to keep a row: `retention.Need`.

`erasure` seals an empty content in place of the old one. The row keeps its hash, so chain and anchor stay valid. A
record in the chain explains the difference (`engine.store.core.checks.pruned_ranges`); every comparison of hashes looks
there.

`key_rotation` has four steps; a power failure may follow each.
"""
