"""Builders of what the inspector's tests are about."""

from tunnel.inspector import Inspector

T0 = 1_700_000_000_000  # any instant will do

PUBLIC = "https://brave-otter.relay.example"

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"


def a_head(*lines, method="POST", target="/api/hook"):
    first = f"{method} {target} HTTP/1.1"
    fields = lines or ("Host: brave-otter.relay.example", "Content-Length: 2")
    return "".join(f"{line}\r\n" for line in (first, *fields, "")).encode("latin-1")


def an_exchange(
    *lines,
    inspector=None,
    body=b"hi",
    answer=ANSWER,
    answer_body=b"ok",
    error=None,
    failed_end=None,
    took_ms=12,
    prefix=PUBLIC,
    **head,
):
    """Make one that has ended; with ``answer=b""``, without an answer."""
    if inspector is None:
        inspector = Inspector()
    exchange = inspector.begin(
        b"203.0.113.9", b"https", a_head(*lines, **head), prefix, T0
    )
    if body:
        exchange.request_data(body)
    if answer:
        exchange.answer_head(answer, T0 + 3)
        exchange.answer_data(answer_body)
    exchange.finish(T0 + took_ms, error, failed_end)
    return exchange
