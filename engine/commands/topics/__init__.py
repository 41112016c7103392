"""One module for each topic: ``markdown()`` is its text, made from the code that it lists."""
