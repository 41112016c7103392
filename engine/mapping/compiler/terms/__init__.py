"""Expressions to Python: paths, names, calls, operators, comparisons."""
