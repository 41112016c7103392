"""Corrections for analyzers that depart from their standard, one small pure module for each.

A dialect offers ``adapt(parsed: Parsed) -> Parsed``: called once for every message after it was parsed and before it
is routed and mapped. It may move misplaced values, rename codes and segments, and mark entries that are no results; it
must not drop a result, and it changes the tree and the list of segments alike. Its docstring names the manual, driver
or capture that it follows. A module of this folder is a dialect, and its file's name is the dialect's
(`roche_cobas_c311.py` is `roche-cobas-c311`); code that dialects share is in `adapters.dialects.shared`.

``DIALOGUE`` (`adapters.codecs.astm.habits`) says how the analyzer asks for orders and takes them; a dialect without
it sends results only. A dialect for which no departure in results is known has only that.

A dialect that reads numbers of specimens elsewhere than its standard, or times in another form, declares it, so that
`labrelay simulate` writes them so: ``WRITES_NUMBERS``, places as (record, field, component) from 1, and
``WRITES_TIMES``, the form for ``strftime`` (``%d%m%Y%H%M%S``).
"""
