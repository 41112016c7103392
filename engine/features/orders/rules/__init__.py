"""What this feature decides. Pure."""
