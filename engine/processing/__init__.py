"""From a stored message to its outcome: parse, route and map (`process`), in journal order (`intake`)."""
