"""Add an analyzer: a draft channel listens and delivers nothing, until a person has compared its first result.

    listen -> what came -> recognise -> codes -> compare one result -> it is no draft any more

A draft is a channel file with ``draft: true``, and perhaps a layout and a table of codes of its own: it survives what
the files survive, and the command line and the page work on the same.
"""

from engine.feature import Feature

FEATURE = Feature(
    service="service.putting:Adding", acts="acts:ACTS", todo="todo:entries", pages="pages:routes", menu="pages:MENU"
)
