"""Signatures of HTTP requests: AWS version 4, and an HMAC as web hooks carry it."""
