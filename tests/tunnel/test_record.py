"""tunnel/record.py: what is a record, and what is refused."""

import json
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tunnel.exchanges import PUBLIC, an_exchange
from tunnel import record as module
from tunnel.record import RecordRefused, parse_record, read_recording, record_of
from tunnel.recording import record_line


def a_line(**changes):
    """Make a line of a recording; ``...`` as a value leaves its key out."""
    request = {"method": "POST", "target": "/a", "headers": [["Host", "h"]], "body": ""}
    written = {"version": 1, "url": f"{PUBLIC}/a", "request": request, **changes}
    kept = {key: value for key, value in written.items() if value is not ...}
    return json.dumps(kept).encode()


def a_request(**changes):
    return {"method": "POST", "target": "/a", "headers": [], "body": "", **changes}


def test_a_record_of_a_kept_exchange_has_its_credentials():
    record = record_of(an_exchange("Authorization: Bearer t0ken"))

    assert record.header("authorization") == "Bearer t0ken"
    assert record.redacted == ()


def test_a_record_names_the_fields_whose_values_it_lacks():
    record = parse_record(record_line(an_exchange("Cookie: a=b", "Host: h")))

    assert record.redacted == ("Cookie",)
    assert record.header("host") == "h"
    assert record.header("Accept") is None


def test_a_record_knows_what_stands_before_its_target():
    record = parse_record(a_line(url="https://relay.example/t/otter/a"))

    assert record.public_url_prefix == "https://relay.example/t/otter"


def test_a_body_that_is_said_to_be_truncated_is_none():
    assert parse_record(a_line(request=a_request(isTruncated=True))).body is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "it isn't JSON"),
        (b"{", "it isn't JSON"),
        (b"\xff", "it isn't JSON"),
        (b"[" * 100_000, "it isn't JSON"),
        (b"[]", "it isn't a record"),
        (a_line(version=...), "it isn't a record"),
        (a_line(version=2), "its format is version 2, and this qemu reads 1"),
        (a_line(request=[]), "it isn't a record"),
        (a_line(url=5), "it isn't a record"),
        (a_line(url="https://h/b"), "url isn't one that ends with request.target"),
        (a_line(url="file:///a"), "url isn't one"),
        (a_line(request=a_request(method="A B")), "request.method"),
        (a_line(request=a_request(method=None)), "request.method"),
        (a_line(request=a_request(target="a")), "request.target"),
        (a_line(request=a_request(target="/a b")), "request.target"),
        (a_line(request=a_request(target="/a\r\nX: y")), "request.target"),
        (a_line(request=a_request(headers={})), "request.headers isn't a list"),
        (a_line(request=a_request(headers=[["a"]])), "request.headers has"),
        (a_line(request=a_request(headers=[["a", 5]])), "request.headers has"),
        (a_line(request=a_request(headers=[["a:", "b"]])), "request.headers has"),
        (a_line(request=a_request(headers=[["a", "b\r\nc"]])), "request.headers has"),
        (a_line(request=a_request(headers=[["a", "\u20ac"]])), "request.headers has"),
        (a_line(request=a_request(body=5)), "request: a body is a text"),
        (a_line(request=a_request(bodyBase64="#")), "request: "),
        (a_line(answer=[]), "answer isn't an object"),
        (a_line(answer={"status": "200"}), "answer.status"),
        (a_line(answer={"status": True}), "answer.status"),
        (a_line(answer={"status": 42}), "answer.status"),
        (a_line(id=-1), "id isn't a whole number"),
        (a_line(id=True), "id isn't a whole number"),
        (a_line(startedAt=1.5), "startedAt isn't a whole number"),
    ],
)
def test_what_is_not_a_record_is_refused_with_its_reason(line, reason):
    with pytest.raises(RecordRefused, match=reason):
        parse_record(line)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["version", "url", "request", "headers", "body", "method", "answer"]
                ),
                inner,
                max_size=5,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_a_record_or_refused(written):
    line = json.dumps(written).encode()

    with suppress(RecordRefused):
        assert parse_record(line).url == written["url"]


def test_blank_lines_are_skipped(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_bytes(b"\n" + a_line() + b"\n \n" + a_line() + b"\n")

    assert len(list(read_recording(path))) == 2


def test_what_is_refused_in_a_file_is_named_by_its_line(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_bytes(b"\n" + a_line() + b"\n{}\n")

    with pytest.raises(RecordRefused, match="line 3: it isn't a record"):
        list(read_recording(path))


def test_a_line_that_is_too_long_is_refused_without_being_read(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_LINE_BYTES", 300)
    path = tmp_path / "a.ndjson"
    path.write_bytes(a_line() + b"\n" + b"x" * 1000)

    records = read_recording(path)

    assert next(records).target == "/a"
    with pytest.raises(RecordRefused, match="line 2: it is longer than 300 bytes"):
        next(records)


def test_records_are_values():
    record = parse_record(a_line())

    assert replace(record) == record
