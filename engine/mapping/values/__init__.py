"""Values as they are written: decimals, JSON, times, names in URIs."""
