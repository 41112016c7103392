"""Code shared by several verbs: output, the session with a journal or a daemon, options, selections."""
