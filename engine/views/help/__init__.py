"""The help: written pages and topics, as Markdown, for the terminal, the status page and the documentation site.

A page is a file of `docs/`, which the wheel carries. A topic is a list of what the code has (keys, verbs, codes), made
from the code when a reader asks for it: a function of `engine.commands.topics.short`, or a module beside it with a
function ``markdown``. It is known here by its name alone, because it imports what it lists. A topic of the same name as
a page follows the page.
"""
