"""What runs of this feature while a site runs."""
