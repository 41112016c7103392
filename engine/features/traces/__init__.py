"""Traces: the steps of each message as spans, for the site's collector."""
