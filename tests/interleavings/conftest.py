"""What every fault test may ask for."""

from tests.faults.harness.plugin import trial

__all__ = ["trial"]
