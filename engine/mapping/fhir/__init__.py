"""FHIR R4: its elements, the Bundle around the resources, and whether one is valid."""
