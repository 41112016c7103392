"""The acts of the core: messages of any kind, the site and its parts, and who sees patients."""
