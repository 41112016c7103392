"""Formats that a layout describes: framing, pieces and fields of text that is neither HL7 v2 nor ASTM."""
