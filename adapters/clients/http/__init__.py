"""HTTP: one exchange, plain posts, the ways to log in, and the guard of addresses that another side names."""
