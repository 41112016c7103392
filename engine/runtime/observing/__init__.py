"""What is seen of the running site: one snapshot a second, and its parts."""
