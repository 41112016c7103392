"""Documents that are no FHIR: HL7 v2 messages, JSON objects, CSV lines (``to:`` of a mapping).

``to:`` decides which steps make a document (`engine.mapping.language.targets`). All else is shared with FHIR: reading,
expressions, loops, the account of every result, identity, the trace. `adapters.codecs.hl7v2.writer` has the binder that
reads messages say where a segment belongs, so set IDs and warnings follow the same grammar.
"""
