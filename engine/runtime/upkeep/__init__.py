"""Scheduled work: copies, reading the journal, the second anchor, certificates."""
