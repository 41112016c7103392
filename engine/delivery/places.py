"""Places in memory: intake asks for one before it commits a delivery, and says what became of it."""

from engine.delivery.claims import Storing
from engine.delivery.lane import Lane
from engine.model.message import Delivery


class Places(Storing):
    """A worker's memory, as intake and people's acts meet it."""

    def lane(self, channel: str) -> Lane:
        """The lane of a channel, made on first use; what the store has for it is looked up before anything new."""
        lane = self.lanes.get(channel)
        if lane is None:
            lane = self.lanes[channel] = Lane(channel, spilled=True)
            self._make_ready(lane)
        return lane

    def reserve(self, lane: Lane, size: int) -> bool:
        """Ask for a place in memory for a delivery about to be committed. False: let it be born waiting.

        Args:
            size: bytes of its document.
        """
        stands = not self._running or self._paused or lane.held
        if stands or lane.spilled or self._full() or lane.in_memory >= self._lane_deliveries:
            lane.spilled = True
            lane.refused += 1
            return False
        lane.reserved += 1
        self.in_memory += 1
        self.bytes_in_memory += size
        return True

    def committed(self, lane: Lane, delivery: Delivery, size: int) -> None:
        """A delivery with a place in memory is durable. Called in journal order.

        Args:
            size: as it was reserved; the document may have changed since (`engine.store.operations.settling.settle`).
        """
        lane.reserved -= 1
        self.bytes_in_memory += len(delivery.body) - size
        lane.queue.append(delivery)
        if lane.recalled:  # older ones are about to be read from the store, and go first
            self._give_up(lane)
        else:
            lane.newest = delivery.seq
        self._make_ready(lane)
        self._pump()

    def left_in_store(self, lane: Lane) -> None:
        """A delivery without a place in memory is durable: a claim will find it."""
        lane.spilled = True
        self._make_ready(lane)
        self._pump()

    def give_back(self, lane: Lane, size: int) -> None:
        """The reserved place is not needed: the message came to nothing, or could not be stored."""
        lane.reserved -= 1
        self.in_memory -= 1
        self.bytes_in_memory -= size
        self._make_ready(lane)
        self._pump()

    def look_again(self, channel: str) -> None:
        """Rows of a lane became waiting by another way (a retry, a replay, recovery): read them from the store.

        They may be older than what waits in memory, and then go first: so that is given back, and all claimed anew.
        """
        lane = self.lane(channel)
        self._give_up(lane)
        lane.failure = None  # what failed is claimed anew, unless a person has closed it
        self._make_ready(lane)
        self._pump()
