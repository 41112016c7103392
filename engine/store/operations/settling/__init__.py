"""Settle a document against earlier accepted ones for the same orders: echoes, corrections, withdrawals, questions to a
person. `engine.succession` has the rules; this folder applies them to stored data.
"""
