"""Everything durable. Beside it the ``rows`` of features have SQL, and the sandbox, for a database of its own.

core         one file: writer, batch, chain, anchor, keys, lock, schema steps
operations   functions of a batch, each declared once; `Journal.run` carries them out
lifecycle    retention, erasure, a new key
queries      reading: pages of messages, traces, dead letters, lanes, the audit trail
integrity    verify, and detection of a rolled back data folder
journal      the interface of the store
recovery     backups, salvage, compaction
"""
