"""Rules to Python source: one function per mapping and structure, in a plain and a traced variant."""
