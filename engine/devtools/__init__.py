"""Tools for developers and trials: simulated analyzers, a sandbox that receives, a demo, a bench, a playground for
mappings. Only commands import them.
"""
