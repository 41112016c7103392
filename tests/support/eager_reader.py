"""The process that draws pages (`engine.runtime.reader`), not nice: for a test that draws hundreds."""

from engine.runtime.large.__main__ import main

if __name__ == "__main__":
    main("engine.runtime.reader.child")
