"""`qemu publish`."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from emulator.cli import cli
from emulator.settings import DEV_USERS

USER = DEV_USERS[0]


def run(*args, **options):
    return CliRunner().invoke(cli, args, prog_name="qemu", **options)


def publish(stub, *args, **options):
    stub.answers.setdefault("publish", b'{"messageId":"msg_1"}')
    return run("publish", "--url", stub.url, *args, **options)


def sent(stub):
    """Return the target, the headers and the body of the only request."""
    ((method, target, headers, body),) = stub.requests
    assert method == "POST"
    return target, {k: v for k, v in headers if k not in ("Host", "Connection")}, body


def test_publish_prints_the_id_alone(stub):
    result = publish(stub, "http://localhost:3000/api/hook")
    target, headers, body = sent(stub)

    assert result.output == "msg_1\n"
    assert target == "/v2/publish/http://localhost:3000/api/hook"
    assert headers == {"Authorization": f"Bearer {USER.token}", "Content-Length": "0"}
    assert body == b""


def test_publish_leaves_the_destination_as_it_is(stub):
    """BASE-3."""
    publish(stub, "HTTPS://A.example//b/../c%2f?x=1&x=%20")

    assert sent(stub)[0] == "/v2/publish/HTTPS://A.example//b/../c%2f?x=1&x=%20"


def test_publish_sends_what_is_asked_for_as_headers(stub):
    publish(
        stub,
        "http://a",
        *("--method", "PUT", "--delay", "10s", "--retries", "0"),
        *("--callback", "http://b", "--failure-callback", "http://c"),
        *("-H", "Upstash-Label: one", "-H", "X-Empty:", "--token", "mine"),
    )

    assert sent(stub)[1] == {
        "Authorization": "Bearer mine",
        "Upstash-Method": "PUT",
        "Upstash-Delay": "10s",
        "Upstash-Retries": "0",
        "Upstash-Callback": "http://b",
        "Upstash-Failure-Callback": "http://c",
        "Upstash-Label": "one",
        "X-Empty": "",
        "Content-Length": "0",
    }


@pytest.mark.parametrize(
    ("data", "content_type"),
    [('{"a":1}', "application/json"), ("hello", None), ("[" * 99_999, None)],
)
def test_publish_calls_a_json_body_json(stub, data, content_type):
    publish(stub, "http://a", "-d", data)
    _, headers, body = sent(stub)

    assert headers.get("Content-Type") == content_type
    assert body == data.encode()


def test_publish_takes_the_content_type_that_is_given(stub):
    publish(stub, "http://a", "-d", "{}", "--content-type", "text/plain")

    assert sent(stub)[1]["Content-Type"] == "text/plain"


def test_publish_takes_a_body_from_a_file_or_from_standard_input(stub):
    Path("body.bin").write_bytes(b"\x00\xff")
    publish(stub, "http://a", "-d", "@body.bin")
    assert sent(stub)[2] == b"\x00\xff"

    stub.requests.clear()
    publish(stub, "http://a", "-d", "-", input=b"\xfe")
    assert sent(stub)[2] == b"\xfe"


def test_publish_prints_every_id_of_a_url_group(stub):
    """PUB-41."""
    stub.answers["publish"] = b'[{"messageId":"msg_1"},{"messageId":"msg_2"}]'

    assert publish(stub, "group").output == "msg_1\nmsg_2\n"


def test_publish_prints_the_id_of_a_schedule(stub):
    """SCH-1, PUB-44: with a cron, a schedule is made."""
    stub.answers["publish"] = b'{"scheduleId":"scd_1"}'

    result = publish(stub, "http://a", "-H", "Upstash-Cron: * * * * *")
    assert result.output == "scd_1\n"


@pytest.mark.parametrize("url", ["http://127.0.0.1:{}/", "http://localhost:{}/v2"])
def test_publish_goes_where_the_environment_says_if_that_is_here(stub, url):
    """ENV-5: a path is the SDKs' own."""
    stub.answers["publish"] = b'{"messageId":"msg_1"}'
    result = run(
        "publish", "http://a", env={"QSTASH_URL": url.format(stub.server_port)}
    )

    assert result.output == "msg_1\n"
    assert sent(stub)[0] == "/v2/publish/http://a"


@pytest.mark.parametrize(
    "url", ["https://qstash.upstash.io", "http://10.0.0.1", "http://[", "nonsense"]
)
def test_publish_goes_nowhere_else_unless_told_to(stub, url):
    stub.answers["publish"] = b'{"messageId":"msg_1"}'
    environ = {"QSTASH_URL": url, "QEMU_PORT": str(stub.server_port)}
    assert run("publish", "http://a", env=environ).output == "msg_1\n"

    result = publish(stub, "http://a", env={"QSTASH_URL": "http://127.0.0.1:9"})
    assert result.output == "msg_1\n"


@pytest.mark.parametrize(
    ("args", "code", "error"),
    [
        (("http://a", "--retries", "-1"), 2, "must be a whole number of at least 0"),
        (("http://a/é",), 2, "URL must be ASCII without spaces"),
        (("http://a", "-H", "nonsense"), 2, "a header looks like 'Name: value'"),
        (("http://a", "-H", ": x"), 2, "a header looks like 'Name: value'"),
        (("http://a", "-d", "@nowhere"), 1, "can't read nowhere: No such file"),
        (("http://a", "-H", "X: a\r\nY: b"), 1, "Invalid header value"),
    ],
)
def test_publish_says_what_cannot_be_sent(stub, args, code, error):
    result = publish(stub, *args)

    assert result.exit_code == code
    assert error in result.stderr
    assert stub.requests == []


def test_publish_without_a_server_says_how_to_start_one(stub):
    stub.shutdown()
    stub.server_close()
    result = run("publish", "http://a", env={"QEMU_PORT": str(stub.server_port)})

    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: nothing is listening at {stub.url}\n  Start it: qemu start\n"
    )
