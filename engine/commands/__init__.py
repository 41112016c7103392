"""One module per verb of the command line. `engine.__main__` finds them by file."""
