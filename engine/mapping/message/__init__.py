"""One message on its way through a mapping: its context, its identity, and what generated code calls."""
