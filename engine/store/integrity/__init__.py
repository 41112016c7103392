"""Whether the journal is what was stored: rows, chain, anchor, a folder put back, the copy before an upgrade."""
