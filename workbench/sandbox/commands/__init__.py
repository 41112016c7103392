"""The verb `labrelay sandbox`."""
