"""From a connection to the journal, and the answer. `channel` has the one place where bytes are acknowledged."""
