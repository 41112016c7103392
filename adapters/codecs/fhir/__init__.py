"""FHIR R4 as bytes: answers of servers, versions and ids of resources, attachments."""
