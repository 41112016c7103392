"""Try a mapping: messages from files, tests with expectations, facts beside the document."""
