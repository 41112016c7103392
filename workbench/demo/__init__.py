"""`labrelay demo`: the daemon on the repository's own site, the sandbox, and analyzers that play `samples/`."""
