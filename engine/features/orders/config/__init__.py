"""The keys of this feature in the site's files."""
