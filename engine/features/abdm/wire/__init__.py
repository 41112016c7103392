"""Ayushman Bharat Digital Mission (ABDM), V3: bodies of its gateway, and encryption of records. Pure."""
