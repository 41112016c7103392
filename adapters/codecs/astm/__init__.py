"""ASTM E1381 (frames, the link of a session) and E1394 (records), as CLSI LIS1-A and LIS2-A2 describe them."""
