"""`qemu verify`."""

import json
import re
from base64 import b64encode
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.cli import cli
from emulator.cli.exit_codes import CliError
from emulator.cli.verify import parse_capture
from emulator.core.explain_text import CauseKind
from emulator.core.forgery import Variant, sign_variant
from emulator.core.model import SigningKeys
from emulator.settings import DEV_USERS
from tests.doubles import T0

few = settings(max_examples=100, deadline=None)

ROOT = Path(__file__).resolve().parents[2]

KEYS = DEV_USERS[0].keys
MINE = SigningKeys("sig_mine_current", "sig_mine_next")
URL = "http://localhost:3000/api/hook?x=1"
BODY = b'{"hello":"world"}'


def a_token(variant=Variant.VALID, *, keys=KEYS, body=BODY, url=URL):
    return sign_variant(
        variant, body=body, url=url, keys=keys, now_ms=T0, jwt_id="jwt_1"
    )


def verify(*args, at=T0, **options):
    """Run the command as if it were the given time."""
    command = ("verify", *args, "--at", str(at))
    return CliRunner().invoke(cli, command, prog_name="qemu", **options)


def kinds(result):
    return re.findall(r"^[0-9]+\. ([a-z-]+): ", result.stdout, re.M)


# Request in pieces


def test_a_valid_signature_ends_with_0():
    result = verify("--signature", a_token(), "--body", BODY.decode(), "--url", URL)

    assert result.exit_code == 0
    assert result.stdout.startswith("The signature is valid.\n")
    assert 'Signed with your current key, the user "defaultUser"\'s.' in result.stdout


def test_a_signature_that_is_not_valid_ends_with_1_and_says_why():
    """SIG-5, SIG-10."""
    result = verify(
        *("--signature", a_token(Variant.EXPIRED)),
        *("--body", '{"hello": "world"}', "--url", URL.replace("http", "https")),
    )

    assert result.exit_code == 1
    assert result.stdout.startswith("The signature is not valid.\n")
    assert kinds(result) == ["expired", "url-scheme", "body-reserialized"]
    assert "await request.text() in Next.js" in result.stdout


def test_a_warning_alone_ends_with_0():
    """KEY-4."""
    result = verify("--signature", a_token(Variant.NEXT_KEY), "--body", BODY.decode())

    assert result.exit_code == 0
    assert kinds(result) == ["next-key"]


def test_without_a_url_and_a_body_the_body_is_empty_and_the_url_is_not_checked():
    assert verify("--signature", a_token(body=b"")).exit_code == 0
    assert kinds(verify("--signature", a_token())) == ["body-empty"]


@pytest.mark.parametrize("header", ["", "Upstash-Signature: ", "upstash-signature:"])
def test_signature_and_body_may_come_from_files(header):
    Path("signature").write_text(f"{header}{a_token(body=bytes(range(256)))}\n")
    Path("body").write_bytes(bytes(range(256)))

    assert verify("--signature", "@signature", "--body", "@body").exit_code == 0


def test_signature_or_body_may_come_from_standard_input():
    signature, body = a_token(), BODY.decode()

    assert verify("--signature", "-", "--body", body, input=signature).exit_code == 0
    assert verify("--signature", signature, "--body", "-", input=body).exit_code == 0


def test_whether_the_url_was_checked_is_said():
    """SIG-10."""
    said = "The URL wasn't checked: pass --url."
    arguments = ("--signature", a_token(), "--body", BODY.decode())

    for more, is_checked in (((), False), (("--url", URL), True)):
        assert (said in verify(*arguments, *more).stdout) is not is_checked
        answer = json.loads(verify(*arguments, *more, "--json").stdout)
        assert answer["isUrlChecked"] is is_checked


def test_programs_get_one_json_object():
    result = verify("--signature", a_token(), "--json")
    answer = json.loads(result.stdout)

    assert result.exit_code == 1
    assert answer["isValid"] is False
    assert [cause["kind"] for cause in answer["causes"]] == ["body-empty"]
    assert answer["key"] == "current"
    assert answer["claims"]["sub"] == URL


def test_now_is_the_machines_time_unless_told_otherwise():
    arguments = ("verify", "--signature", a_token(body=b""))
    result = CliRunner().invoke(cli, arguments, prog_name="qemu")

    assert kinds(result) == ["expired"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), "give --signature, or --request"),
        (("--body", "x"), "give --signature, or --request"),
        (("--signature", "-", "--body", "-"), "standard input can be read once"),
        (("--request", "-", "--body", "-"), "standard input can be read once"),
    ],
)
def test_a_command_line_that_says_too_little_is_a_mistake(args, says):
    result = verify(*args)

    assert result.exit_code == 2
    assert says in result.stderr


@pytest.mark.parametrize(
    "args", [("--signature", "@nowhere"), ("--request", "nowhere")]
)
def test_a_file_that_is_not_there_is_named(args):
    result = verify(*args)

    assert result.exit_code == 1
    assert "can't read nowhere: No such file" in result.stderr


# Keys


def test_the_published_keys_are_used_if_no_others_are_set_and_that_is_said():
    """ENV-11."""
    result = verify("--signature", a_token(body=b""))

    assert result.exit_code == 0
    assert "published keys" in result.stderr


@pytest.mark.parametrize("is_environment", [True, False])
def test_the_keys_of_the_environment_or_the_options_are_used(is_environment):
    """ENV-4."""
    arguments = ["--signature", a_token(keys=MINE, body=b"")]
    environment = {}
    if is_environment:
        environment["QSTASH_CURRENT_SIGNING_KEY"] = MINE.current
        environment["QSTASH_NEXT_SIGNING_KEY"] = MINE.next
    else:
        arguments += ["--current-signing-key", MINE.current]
        arguments += ["--next-signing-key", MINE.next]
    result = verify(*arguments, env=environment)

    assert result.exit_code == 0
    assert result.stderr == ""


def test_of_a_pair_of_which_one_is_set_the_other_is_not_a_published_one():
    signature = a_token(Variant.NEXT_KEY, body=b"")
    result = verify("--signature", signature, "--current-signing-key", "sig_mine")

    assert kinds(result) == ["key-of-other-user"]


def test_keys_of_a_region_are_known():
    """ENV-3, ENV-4."""
    environment = {
        "QSTASH_CURRENT_SIGNING_KEY": "sig_mine",
        "US_EAST_1_QSTASH_CURRENT_SIGNING_KEY": MINE.current,
    }
    result = verify("--signature", a_token(keys=MINE, body=b""), env=environment)

    assert kinds(result) == ["key-of-other-region"]
    assert '"US-EAST-1"' in result.stdout


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_no_key_is_printed(arguments):
    keys = ["--current-signing-key", "sig_first", "--next-signing-key", "sig_second"]
    environment = {"US_EAST_1_QSTASH_CURRENT_SIGNING_KEY": MINE.current}
    for variant in Variant:
        signature = a_token(variant, keys=MINE)
        result = verify("--signature", signature, *keys, *arguments, env=environment)

        for secret in ("sig_first", "sig_second", MINE.current, KEYS.current):
            assert secret not in result.output


# A captured request


def raw_request(*lines, body=BODY, token=None, line_break="\r\n"):
    head = [
        "POST /api/hook?x=1 HTTP/1.1",
        "Host: localhost:3000",
        f"Upstash-Signature: {token or a_token()}",
        *lines,
    ]
    return line_break.join([*head, "", ""]).encode() + body


def capture(data, *args):
    Path("request").write_bytes(data)
    return verify("--request", "request", *args)


@pytest.mark.parametrize("line_break", ["\r\n", "\n"])
def test_a_raw_request_is_verified_whole(line_break):
    assert capture(raw_request(line_break=line_break)).exit_code == 0


def test_a_raw_request_may_come_from_standard_input():
    assert verify("--request", "-", input=raw_request()).exit_code == 0


def test_options_replace_what_the_request_says():
    request = raw_request(body=b"altered")
    other = "https://app.example/hook"

    assert kinds(capture(request)) == ["body-altered"]
    assert capture(request, "--body", BODY.decode()).exit_code == 0
    assert kinds(capture(raw_request(), "--url", other)) == [
        *("url-scheme", "url-host", "url-port", "url-path", "url-query")
    ]
    signature = a_token(Variant.EXPIRED)
    assert kinds(capture(raw_request(), "--signature", signature)) == ["expired"]


def test_a_request_without_a_signature_lacks_it():
    request = raw_request().replace(b"Upstash-Signature", b"X-Signature")

    assert kinds(capture(request)) == ["signature-missing"]


def test_the_region_of_a_request_is_heard():
    """ENV-4."""
    signature = a_token(Variant.WRONG_KEY)
    request = raw_request("Upstash-Region: US-EAST-1", token=signature)

    assert 'It comes from "US-EAST-1".' in capture(request).stdout


def test_a_request_that_is_none_is_a_mistake():
    result = capture(b"hello")

    assert result.exit_code == 1
    assert "neither raw HTTP nor JSON" in result.stderr


@pytest.mark.parametrize(
    ("lines", "url"),
    [
        ((), "http://localhost:3000/api/hook?x=1"),
        (("X-Forwarded-Proto: https",), "https://localhost:3000/api/hook?x=1"),
        (("x-forwarded-host: app.example",), "http://app.example/api/hook?x=1"),
    ],
)
def test_the_url_is_what_a_framework_makes_of_the_head(lines, url):
    assert parse_capture(raw_request(*lines)).url == url


def test_a_target_that_is_a_whole_url_is_the_url():
    request = parse_capture(b"POST https://a.b/c HTTP/1.1\nHost: x\n\n")

    assert request.url == "https://a.b/c"


def test_without_a_host_there_is_no_url():
    assert parse_capture(b"\r\nPOST /c HTTP/1.1\r\n\r\n").url is None


def test_a_head_may_be_all_there_is():
    request = parse_capture(b"GET /c HTTP/1.0\nHost: a\nnonsense\nUpstash-Signature: x")

    assert (request.url, request.signature, request.body) == ("http://a/c", "x", b"")


def test_what_an_editor_adds_behind_the_body_is_not_part_of_it():
    request = raw_request(f"Content-Length: {len(BODY)}", body=BODY + b"\n")

    assert parse_capture(request).body == BODY


@pytest.mark.parametrize("length", ["18", "-1", "x", "9" * 20])
def test_a_body_that_is_not_whole_is_a_mistake(length):
    with pytest.raises(CliError, match="isn't whole"):
        parse_capture(raw_request(f"Content-Length: {length}"))


def test_a_chunked_body_is_put_together():
    body = b"5;x=y\r\n" + BODY[:5] + b"\r\nc\r\n" + BODY[5:] + b"\r\n0\r\n\r\n"

    assert parse_capture(raw_request("Transfer-Encoding: chunked", body=body)).body == (
        BODY
    )


@pytest.mark.parametrize("body", [b"", b"5\r\nhello\r\n", b"hello"])
def test_a_chunked_body_without_an_end_is_a_mistake(body):
    with pytest.raises(CliError, match="its end is missing"):
        parse_capture(raw_request("Transfer-Encoding: chunked", body=body))


@pytest.mark.parametrize(
    "headers",
    [
        {"upstash-signature": a_token()},
        {"Upstash-Signature": [a_token()]},
        [["Upstash-Signature", a_token()]],
        [{"name": "Upstash-Signature", "value": a_token()}],
    ],
)
@pytest.mark.parametrize(
    "body", [{"body": BODY.decode()}, {"bodyBase64": b64encode(BODY).decode()}]
)
def test_a_request_in_json_is_verified_whole(headers, body):
    request = {"url": URL, "headers": headers, **body}

    assert capture(json.dumps(request).encode()).exit_code == 0


def test_a_request_in_json_may_lack_all_but_its_braces():
    assert kinds(capture(b" {}")) == ["signature-missing"]
    assert parse_capture(b'{"url":1}').url is None


def test_a_body_that_was_parsed_cannot_be_verified():
    result = capture(b'{"headers":{},"body":{"hello":"world"}}')

    assert result.exit_code == 1
    assert "the captured body isn't a text" in result.stderr


@pytest.mark.parametrize(
    "request_json",
    [
        *(b"{", b'{"headers":1}', b'{"headers":null}', b'{"headers":"abc"}'),
        *(b'{"headers":[1]}', b'{"headers":[[1]]}', b'{"bodyBase64":"%"}'),
        b'{"a":' * 100_000,
    ],
    ids=lambda value: value[:20].decode(),
)
def test_json_that_is_no_request_is_a_mistake(request_json):
    result = capture(request_json)

    assert result.exit_code == 1
    assert "isn't the JSON of one" in result.stderr


heads = st.lists(
    st.sampled_from(
        [
            *("POST / HTTP/1.1", "Host: a", "Content-Length: 3", "\n", "abc", "0"),
            *("Transfer-Encoding: chunked", "Upstash-Signature: x", ":", "{}"),
        ]
    )
).map(lambda lines: "\n".join(lines).encode())


@few
@given(heads | st.binary() | st.text().map(lambda text: ("{" + text).encode()))
def test_no_capture_makes_it_raise_anything_else(data):
    try:
        request = parse_capture(data)
    except CliError:
        return
    assert isinstance(request.body, bytes)


# The how-to page


def test_every_kind_of_cause_has_its_row_in_the_how_to_page():
    page = (ROOT / "docs" / "how-to" / "debug-signatures.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    named = [
        kind for row in rows for kind in re.findall("`([a-z-]+)`", row.split("|")[1])
    ]

    assert sorted(named) == sorted(CauseKind)


def test_the_output_that_the_how_to_page_shows_is_real():
    page = (ROOT / "docs" / "how-to" / "debug-signatures.md").read_text()
    command, output = re.findall(
        r"^```\n\$ (qemu verify .*?)\n\n(.*?)^```$", page, re.M | re.S
    )[0]
    Path("request.http").write_bytes(
        raw_request(
            *("X-Forwarded-Proto: http", "Content-Length: 18"),
            body=b'{"hello": "world"}',
            token=a_token(url="https://localhost:3000/api/hook?x=1"),
        )
    )
    arguments = command.split()[2:]
    result = verify(*arguments)

    assert output in result.stdout
