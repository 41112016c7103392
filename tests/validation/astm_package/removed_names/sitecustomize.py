"""Give `collections` back the names that Python 3.10 has removed: astm 0.5, of 2013, imports them from there.

The package itself stays as it was published.
"""

import collections
import collections.abc

for name in ("Callable", "Iterable", "Mapping"):
    setattr(collections, name, getattr(collections.abc, name))
