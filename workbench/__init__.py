"""Tools for developers and trials: simulated analyzers, a sandbox that receives, a demo, a bench. Only commands import
them.
"""
