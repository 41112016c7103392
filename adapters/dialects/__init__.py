"""The habits of analyzers that depart from their standard, one small pure module for each.

A dialect offers ``adapt(parsed: Parsed) -> Parsed``: called once for every message after it was parsed and before it
is routed and mapped. It may move what stands in the wrong place, rename what has another name, and mark what is no
result; it may not drop a result, and it changes the tree and the list of segments alike. Its docstring names the
manual, driver or capture that it follows. A module of this folder is a dialect, and its file's name is the dialect's
(`roche_cobas_c311.py` is `roche-cobas-c311`); what dialects share is in `adapters.dialects.shared`.
"""
