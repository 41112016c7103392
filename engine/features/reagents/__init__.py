"""Reagent lots, and the messages that name them."""
