"""One module per kind of destination. `engine.config.destinations.destination` declares the kinds."""
