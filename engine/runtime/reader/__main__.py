"""The process that draws pages: ``python -m engine.runtime.reader FD``, as that for large messages is started."""

import os

from engine.runtime.large.__main__ import main

NICE = 10  # acknowledgements come first

if __name__ == "__main__":
    os.nice(NICE)
    main("engine.runtime.reader.child")
