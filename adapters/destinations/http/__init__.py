"""What destinations over HTTP share: one exchange, TLS, and the ways to log in."""
