"""HL7 v2 in the bar encoding, its structures, acknowledgements and character sets; MLLP."""
