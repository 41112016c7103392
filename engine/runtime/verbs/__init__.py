"""The work of the verbs of the control socket; `engine.runtime.control_handlers` has their table."""
