"""What several verbs share: output, the session with a journal or a daemon, options, selections."""
