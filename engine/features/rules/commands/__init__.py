"""The verbs of this feature; a name with an underscore is shared by them."""
