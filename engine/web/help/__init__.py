"""The help as pages: all of it as HTML, made in a process of its own, and the search in it."""
