"""What is decided about controls. Pure."""
