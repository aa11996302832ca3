"""tunnel/recording.py: exchanges in a file, whole or said not to be."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tunnel.exchanges import PUBLIC, T0, an_exchange
from tunnel import recording
from tunnel.inspector import Inspector
from tunnel.record import RecordRefused, parse_record, read_recording, record_of
from tunnel.recording import Recorder, record_line

# A line


@given(
    body=st.binary(max_size=50),
    answer_body=st.binary(max_size=50),
    value=st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF), max_size=9),
)
def test_what_was_recorded_is_read_again(body, answer_body, value):
    value = "".join(c for c in value if not 0x7F <= ord(c) < 0xA1)
    exchange = an_exchange(
        "Host: h", f"X-A: {value}", "x-a: 2", body=body, answer_body=answer_body
    )

    assert parse_record(record_line(exchange)) == record_of(exchange)


def test_a_line_has_what_the_reference_says():
    exchange = an_exchange("Host: h", "Authorization: Bearer s3cret", answer_body=b"\0")

    assert json.loads(record_line(exchange)) == {
        "version": 1,
        "id": 1,
        "startedAt": T0,
        "durationMs": 12,
        "url": f"{PUBLIC}/api/hook",
        "request": {
            "method": "POST",
            "target": "/api/hook",
            "headers": [["Host", "h"], ["Authorization", "REDACTED"]],
            "bytes": 2,
            "body": "hi",
        },
        "answer": {
            "status": 200,
            "headers": [["Content-Type", "text/plain"]],
            "bytes": 1,
            "body": "\0",
        },
    }


def test_who_made_a_request_is_not_recorded():
    lines = ("X-Forwarded-For: 203.0.113.9", "x-real-ip: 203.0.113.9", "Host: h")
    more = ("CF-Connecting-IP: 203.0.113.9", "Forwarded: for=203.0.113.9")

    line = record_line(an_exchange(*lines, *more, "X-Forwarded-Host: h"))

    assert b"203.0.113.9" not in line
    assert parse_record(line).headers == (("Host", "h"), ("X-Forwarded-Host", "h"))


def test_an_exchange_is_one_line_whatever_is_in_it():
    line = record_line(an_exchange("X-A: \x85", body="a\nb\u2028c\x85".encode()))

    assert len(line.splitlines()) == len(line.decode().splitlines()) == 1


def test_a_failure_is_recorded_with_its_end():
    line = record_line(an_exchange(answer=b"", error="refused", failed_end="local"))

    record = parse_record(line)
    assert record.status is None
    assert record.answer_body is None
    assert json.loads(line)["error"] == "refused"
    assert json.loads(line)["failedEnd"] == "local"


def test_a_body_that_was_not_kept_whole_is_left_out_and_said_to_be():
    exchange = an_exchange(inspector=Inspector(max_body_bytes=3), body=b"1234")

    line = record_line(exchange)

    assert json.loads(line)["request"]["isTruncated"] is True
    assert b"123" not in line.partition(b'"request"')[2].partition(b'"answer"')[0]
    assert parse_record(line).body is None
    assert parse_record(line).answer_body == b"ok"


def test_bodies_that_make_a_line_too_long_are_left_out(monkeypatch):
    monkeypatch.setattr(recording, "MAX_LINE_BYTES", 700)

    record = parse_record(record_line(an_exchange(body=b"\0" * 200)))

    assert record.body is None
    assert record.answer_body is None
    assert record.status == 200


# A file


def test_exchanges_are_appended_as_they_end(tmp_path):
    path, inspector = tmp_path / "a.ndjson", Inspector()
    recorder = Recorder(path)
    inspector.subscribe(recorder.add)

    an_exchange(inspector=inspector)
    assert [record.id for record in read_recording(path)] == [1]
    an_exchange(inspector=inspector)
    recorder.close()

    assert [record.id for record in read_recording(path)] == [1, 2]
    assert recorder.count == 2


def test_a_replay_is_not_recorded(tmp_path):
    recorder = Recorder(tmp_path / "a.ndjson")
    exchange = an_exchange()
    exchange.replay_of = 1

    recorder.add(exchange)
    recorder.close()

    assert recorder.count == 0
    assert list(read_recording(recorder.path)) == []


def test_only_the_owner_can_read_a_new_recording(tmp_path):
    path = tmp_path / "a.ndjson"

    Recorder(path).close()

    assert path.stat().st_mode & 0o077 == 0


def test_a_recording_goes_on_behind_what_is_there(tmp_path):
    path = tmp_path / "a.ndjson"
    for _ in range(2):
        recorder = Recorder(path)
        recorder.add(an_exchange())
        recorder.close()

    assert len(list(read_recording(path))) == 2


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_bytes(b'{"version":1,"ur')

    recorder = Recorder(path)
    recorder.add(an_exchange())
    recorder.close()

    assert parse_record(path.read_bytes().splitlines()[1]).status == 200
    with pytest.raises(RecordRefused, match="line 1: it isn't JSON"):
        list(read_recording(path))


def test_a_file_that_cannot_be_opened_is_an_os_error(tmp_path):
    with pytest.raises(OSError):
        Recorder(tmp_path / "none" / "a.ndjson")


def test_a_full_disk_ends_the_recording_and_is_told_once():
    told = []
    recorder = Recorder(Path("/dev/full"), on_error=told.append)

    recorder.add(an_exchange())
    recorder.add(an_exchange())
    recorder.close()

    assert len(told) == 1
    assert recorder.count == 0


def test_without_anybody_to_tell_it_just_ends():
    recorder = Recorder(Path("/dev/full"))

    recorder.add(an_exchange())

    assert recorder.count == 0
