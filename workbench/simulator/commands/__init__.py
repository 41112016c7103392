"""The verb `labrelay simulate`."""
