"""A site beside its messages: its users, what they may do and have said, alerts, windows, health."""
