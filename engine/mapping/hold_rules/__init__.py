"""Rules that hold results back (`hold:` of a route): expressions of the mapping language, asked for each result.

values     three-valued logic and numbers that may be bounds      limits    the site's tables of limits
terms      what rules may name and call; expressions to Python    rules     a route's rules, asked about a document
"""
