"""The ``destinations:`` of a site, and requests to servers."""
