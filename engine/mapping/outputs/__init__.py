"""Documents that are no FHIR: HL7 v2 messages, JSON objects, CSV lines (``to:`` of a mapping)."""
