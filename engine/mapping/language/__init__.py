"""The language as it is written: expressions, rules in YAML, the structures that they are checked against."""
