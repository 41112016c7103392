"""Verbs for the journal, its key and copies, and for the installation."""
