"""Publishes that an SDK addresses to a provider of language models or e-mails: plain
URLs to the server (LLM-2, LLM-4). ``--route`` lets a local app stand for them all."""

import json
from base64 import b64decode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from qstash import QStash
from qstash.chat import custom, openai

from tests.system.conftest import Arrivals, Delivery, run_server, why_refused

pytestmark = pytest.mark.system

HOSTS = (
    "api.openai.com",
    "api.anthropic.com",
    "api.resend.com",
    "gateway.helicone.ai",
    "llm.example",
)

MODEL = {"model": "any", "messages": [{"role": "user", "content": "hello"}]}
MAIL = {"from": "a@x.example", "to": ["b@x.example"], "subject": "hello"}

FROM_QSTASH = {
    "host",
    "user-agent",
    "content-length",
    "accept-encoding",
    "connection",
    "upstash-message-id",
    "upstash-retried",
    "upstash-signature",
    "upstash-caller-ip",
    "upstash-region",
}


class Providers:
    """Every provider: takes what comes, verifies it, and answers ``done``."""

    def __init__(self):
        self.deliveries = deliveries = Arrivals()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                headers = {name.lower(): value for name, value in self.headers.items()}
                url = f"https://{headers['host']}{self.path}"
                body = self.rfile.read(int(headers["content-length"]))
                refusal = why_refused(headers["upstash-signature"], body, url)
                self.send_response(401 if refusal else 200)
                self.send_header("Content-Length", "4")
                self.end_headers()
                self.wfile.write(b"done")
                deliveries.put(Delivery(url, "POST", headers, body, refusal))

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def received(self, message_id):
        """What a provider needed to know: the URL, the headers that aren't QStash's
        own, the body. It must verify with the URL that it was published to."""
        (delivery,) = self.deliveries.wait_for(
            lambda each: each.message_id == message_id
        )
        assert delivery.refusal is None
        headers = {
            name: value
            for name, value in delivery.headers.items()
            if name not in FROM_QSTASH
        }
        return delivery.url, headers, json.loads(delivery.body)


@pytest.fixture(scope="module")
def providers():
    providers = Providers()
    with providers.server:
        thread = Thread(target=providers.server.serve_forever, daemon=True)
        thread.start()
        yield providers
        providers.server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def routed_server(providers, tmp_path_factory):
    """A qemu to which every provider is the local app."""
    routes = [f"--route=https://{host}={providers.url}" for host in HOSTS]
    with run_server(tmp_path_factory.mktemp("routed"), *routes) as server:
        yield server


def test_the_python_sdk_publishes_to_language_models(
    routed_server, providers, fastapi_app
):
    """LLM-4."""
    token = routed_server.environment["QSTASH_TOKEN"]
    client = QStash(token, base_url=routed_server.url)
    callback_url = fastapi_app.new_url("callback")

    published = client.message.publish_json(
        api={"name": "llm", "provider": openai("o-token")},
        body=MODEL,
        callback=callback_url,
        retries=0,
    )
    url = "https://llm.example/api/v1/chat/completions"
    enqueued = client.message.enqueue_json(
        queue="llm",
        api={"name": "llm", "provider": custom(url, "c-token")},
        body=MODEL,
        retries=0,
    )

    client.http._client.close()  # the SDK never does
    assert providers.received(published.message_id) == (
        "https://api.openai.com/v1/chat/completions",
        {"content-type": "application/json", "authorization": "Bearer o-token"},
        MODEL,
    )
    assert providers.received(enqueued.message_id) == (
        url,
        {"content-type": "application/json", "authorization": "Bearer c-token"},
        MODEL,
    )
    (callback,) = fastapi_app.wait_for(callback_url)
    payload = json.loads(callback.body)
    assert payload["url"] == "https://api.openai.com/v1/chat/completions"
    assert (payload["status"], b64decode(payload["body"])) == (200, b"done")


@pytest.mark.javascript
def test_the_javascript_sdk_publishes_to_language_models_and_e_mail_services(
    scenario, routed_server, providers, fastapi_app
):
    """LLM-2; each of its publishing methods once."""
    callback_url = fastapi_app.new_url("callback")

    reports = scenario("providers.mjs", callback_url, **routed_server.environment)

    json_type = {"content-type": "application/json"}
    o_token = {
        "authorization": "Bearer o-token",
        "openai-organization": "org",
        **json_type,
    }
    a_token = {
        "x-api-key": "a-token",
        "anthropic-version": "2023-06-01",
        **json_type,
    }
    by_helicone = {
        "helicone-auth": "Bearer h-token",
        "helicone-target-url": "https://api.openai.com",
    }
    r_token = {"authorization": "Bearer r-token", **json_type}
    expected = {
        "openai": ("https://api.openai.com/v1/chat/completions", o_token, MODEL),
        "anthropic": ("https://api.anthropic.com/v1/messages", a_token, MODEL),
        "custom": (
            "https://llm.example/api/v1/chat/completions",
            {"authorization": "Bearer c-token", **json_type},
            MODEL,
        ),
        "helicone": (
            "https://gateway.helicone.ai/v1/chat/completions",
            o_token | by_helicone,
            MODEL,
        ),
        "resend": ("https://api.resend.com/emails", r_token, MAIL),
        "resend, batch": ("https://api.resend.com/emails/batch", r_token, [MAIL]),
    }
    assert [report["name"] for report in reports] == list(expected)
    for report in reports:
        received = providers.received(report["messageId"])
        assert received == expected[report["name"]]
        assert report["answer"]["url"] == received[0]
        assert "api" not in report["answer"]
    callbacks = fastapi_app.wait_for(callback_url, len(expected))
    assert {json.loads(each.body)["sourceMessageId"] for each in callbacks} == {
        report["messageId"] for report in reports
    }
