"""One module per verb of the command line, here or in a folder of verbs. `engine.__main__` finds them by file."""
