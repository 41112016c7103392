"""One journal file: the thread that writes, its batches, chain and anchor, keys, lock, schema steps."""
