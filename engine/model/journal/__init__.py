"""What the store takes and returns."""
