"""A process of ours: its time, memory, priority, log, and when it tries again."""
