"""The running site: composition, sources, supervision, scheduled work, the worker process."""
