"""The verb `labrelay demo`."""
