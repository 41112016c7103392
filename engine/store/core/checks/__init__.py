"""Whether rows are missing or changed, and why."""
