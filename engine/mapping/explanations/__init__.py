"""Why a document is as it is: the trace of its values, and how it differs from another."""
