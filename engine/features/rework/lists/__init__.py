"""The lists of this feature: their fields, as tables and JSON have them."""
