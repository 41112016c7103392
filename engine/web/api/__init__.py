"""The API for programs, `/api/v1`: the views of ``-o json`` as resources, and the verbs of the control socket as acts.

resources    the table of what can be read          reads        how each is read
parameters   the arguments of each, as models       paging       cursors
acts         the table of what can be done          sources      what all is read from
problems     what went wrong, as RFC 9457 has it    answers      documents, ETags, compression
limits       how often a caller may ask             service      the routes of the server
explorer     a page about the API                   requests     arguments, found and checked

A resource is declared once: its address, its permissions, its arguments, its view. `make docs` writes the OpenAPI
document of these declarations. The service calls the journal in a thread; each query has a deadline.
"""
