"""Serial ports and device servers: what there is, how one is opened, and whether its bytes arrive undamaged."""
