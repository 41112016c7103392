"""`labrelay bench`: the real daemon on a temporary site, a load and a sink as processes of their own, loopback only.

Measures for reliable figures: all messages differ, rounds rotate, a warm-up is not counted, CPU time is beside wall
time, the machine's sync time is beside both, and lost and repeated messages are counted at the end.
"""
