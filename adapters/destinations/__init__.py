"""One module per kind of destination. `engine.config.destination` declares the kinds."""
