"""Two links without a network: messages go when a test says so, or are lost."""

from collections import deque

from tunnel.link import Link
from tunnel.wire import encode_head


class Recorder:
    """A stream's sink that keeps what comes. Accepts bytes at once, or when told to."""

    def __init__(self, stream=None, *, accepts=True):
        self.stream = stream
        self.accepts = accepts
        self.heads = []
        self.data = bytearray()
        self.unaccepted = 0
        self.trailers = None
        """``None`` until the end has come."""
        self.reset = None
        self.upgraded = 0
        self.rooms = 0

    def on_head(self, payload, is_last):
        self.heads.append((payload, is_last))

    def on_data(self, data):
        assert self.reset is None
        assert self.trailers is None
        self.data += data
        self.unaccepted += len(data)
        if self.accepts:
            self.accept()

    def accept(self, most=1 << 40):
        count = min(most, self.unaccepted)
        self.unaccepted -= count
        if count:
            self.stream.accept(count)

    def on_end(self, trailers):
        assert self.trailers is None
        self.trailers = trailers

    def on_upgraded(self):
        self.upgraded += 1

    def on_reset(self, code, text):
        assert self.reset is None
        self.reset = (code, text)

    def on_room(self):
        self.rooms += 1


class End:
    """A link and its recorders, by stream."""

    def __init__(self, *, is_client, accepts):
        self.ready = 0
        self.now_s = 1.0
        self.sinks = {}
        self.payloads = {}
        self.accepts = accepts
        self.on_its_way = deque()
        self.link = Link(
            now_s=lambda: self.now_s,
            on_ready=self.be_ready,
            on_open=self.open if is_client else None,
        )

    def be_ready(self):
        self.ready += 1

    def open(self, stream, payload, is_last):
        self.payloads[stream.id] = (payload, is_last)
        stream.sink = self.sinks[stream.id] = Recorder(stream, accepts=self.accepts)

    def take(self):
        """Put what there is to send on its way, as long as there is any."""
        taken = 0
        while message := self.link.take():
            self.on_its_way.append(message)
            taken += 1
        return taken


class Pair:
    """A relay's link and a client's, joined by what is on its way between them."""

    def __init__(self, *, accepts=True):
        self.relay = End(is_client=False, accepts=accepts)
        self.client = End(is_client=True, accepts=accepts)

    def open(self, payload=b"open", *, is_last=False):
        """Open a stream at the relay; return its sink there."""
        sink = Recorder(accepts=self.relay.accepts)
        sink.stream = self.relay.link.open(payload, sink, is_last=is_last)
        self.relay.sinks[sink.stream.id] = sink
        return sink

    def opened(self, payload=b"open", *, is_last=False):
        """Open a stream; return its sinks at both ends, once it has arrived."""
        sink = self.open(payload, is_last=is_last)
        self.settle()
        return sink, self.client.sinks[sink.stream.id]

    def to_client(self, most=1 << 40):
        """Deliver messages, so many at most; return how many there were."""
        return self._deliver(self.relay, self.client, most)

    def to_relay(self, most=1 << 40):
        return self._deliver(self.client, self.relay, most)

    @staticmethod
    def _deliver(source, target, most):
        source.take()
        count = min(most, len(source.on_its_way))
        for _ in range(count):
            target.link.receive(source.on_its_way.popleft())
        return count

    def settle(self):
        """Deliver until nobody has anything to say."""
        while self.to_client() + self.to_relay():
            pass

    def cut(self):
        """Lose what is on its way, and go on with a new socket."""
        self.relay.on_its_way.clear()
        self.client.on_its_way.clear()
        to_client, to_relay = self.client.link.seen, self.relay.link.seen
        self.relay.link.resume(to_client)
        self.client.link.resume(to_relay)


def head(data=b"head", body=b""):
    """Make the payload of a HEAD frame."""
    return encode_head(data, body)
