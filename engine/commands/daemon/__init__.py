"""Run the daemon, see its state, and steer it."""
