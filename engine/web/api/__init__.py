"""The API for programs, `/api/v1`: the views of ``-o json`` as resources, and the verbs of the control socket as acts.

lists        how what can be read is declared       resources    the table of it
reads        how each of no feature is read         paging       cursors
parameters   their arguments, as models
acts         the table of what can be done          sources      what all is read from
problems     what went wrong, as RFC 9457 has it    answers      documents, ETags, compression
limits       how often a caller may ask             service      the routes of the server
explorer     a page about the API                   requests     arguments, found and checked

A resource is declared once: its address, its permissions, its arguments, its view; one of a feature in its ``lists``.
`make docs` writes the OpenAPI document of these declarations. The service calls the journal in a thread; each query has
a deadline.
"""
