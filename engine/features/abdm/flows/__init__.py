"""What runs of this feature, step by step."""
