"""Events for other programs: a stream, and webhooks."""
