"""A module for each long topic: ``markdown()`` is its text, made from the code that it lists; `short` has the rest."""
