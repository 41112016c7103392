"""Code tables: their files and rows, what is missing or implausible in them, and published codes and units."""
