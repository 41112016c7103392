"""One journal file: the writer thread, its batches, chain and anchor, keys, lock, schema steps."""
