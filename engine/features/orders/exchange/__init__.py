"""Orders and questions between laboratory systems, the worklist and analyzers."""
