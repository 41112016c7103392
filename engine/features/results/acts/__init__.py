"""What people do with this feature, and the arguments of each act."""
