"""The verb `labrelay bench`."""
