"""Generated source: its lines and variables, and which values are computed less often."""
