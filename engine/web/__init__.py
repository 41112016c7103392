"""The status page and its endpoints."""
