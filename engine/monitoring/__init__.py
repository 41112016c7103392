"""Snapshots for people, metrics, logs, and taps on the way of messages."""
