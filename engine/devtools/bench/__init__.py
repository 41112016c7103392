"""`labrelay bench`: the real daemon on a temporary site, a load and a sink as processes of their own, loopback only.

What makes a figure worth writing down: messages that all differ, rounds that rotate, a warm-up that is not counted,
CPU time beside wall time, the machine's sync time beside both, and a count at the end of what was lost or came twice.
"""
