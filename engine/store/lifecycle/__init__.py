"""What leaves the journal, and its keys: retention, erasure, a new key-encryption key."""
