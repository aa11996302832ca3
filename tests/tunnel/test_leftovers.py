"""What a stream leaves behind when it is over: nothing that must be searched for."""

import weakref

import pytest

from tests.tunnel.linked import Pair, head
from tunnel.wire import ResetCode


def answered(pair):
    """Let a request have its answer; return what stood at both ends of its stream."""
    visitor, app = pair.opened()
    visitor.stream.send_end()
    app.stream.send_head(head(), is_last=True)
    pair.settle()
    assert visitor.heads
    return visitor, app


def cut_off(pair):
    """Let an app cut a request off."""
    visitor, app = pair.opened()
    app.stream.reset(ResetCode.LOCAL_BROKE, "it broke off")
    pair.settle()
    assert visitor.reset is not None
    return visitor, app


def given_up(pair):
    """End both links with a request under way."""
    visitor, app = pair.opened()
    for link in (pair.relay.link, pair.client.link):
        link.end(ResetCode.LINK, "the tunnel is closed")
    assert visitor.reset is not None
    return visitor, app


@pytest.mark.parametrize("end", [answered, cut_off, given_up])
def test_nobody_is_kept_alive_by_a_stream_that_is_over(end):
    pair = Pair()
    kept = [weakref.ref(sink) for sink in end(pair)]
    pair.relay.sinks.clear()
    pair.client.sinks.clear()

    # At once: there is no circle that only a garbage collection would find.
    assert [reference() for reference in kept] == [None, None]
