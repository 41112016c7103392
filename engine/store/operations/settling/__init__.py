"""A document among those of the same orders that were accepted before it: echoes, corrections, withdrawals, what a
person decides. `engine.succession` has the rules, this folder what is stored.
"""
