import os

import pytest
from flask import Flask, abort, request
from qstash import QStash, Receiver

APP_URL = "http://app.test"

app = Flask(__name__)
confirmed = []


@app.post("/order")
def order():
    QStash(os.environ["QSTASH_TOKEN"]).message.publish_json(
        url=f"{APP_URL}/confirm", body=request.json
    )
    return ""


@app.post("/confirm")
def confirm():
    receiver = Receiver(
        os.environ["QSTASH_CURRENT_SIGNING_KEY"], os.environ["QSTASH_NEXT_SIGNING_KEY"]
    )
    try:
        receiver.verify(
            signature=request.headers["Upstash-Signature"],
            body=request.get_data(as_text=True),
            url=f"{APP_URL}/confirm",
        )
    except Exception:
        abort(401)
    if request.json["item"] == "coffee":
        raise RuntimeError("no coffee in stock")
    confirmed.append(request.json)
    return ""


@pytest.fixture
def client(qemu):
    qemu.mount(APP_URL, app)
    confirmed.clear()
    return app.test_client()


def test_an_order_is_confirmed(qemu, client):
    client.post("/order", json={"item": "tea"})
    qemu.run_until_idle()

    assert confirmed == [{"item": "tea"}]


def test_an_error_of_the_app_is_a_failed_delivery(qemu, client):
    client.post("/order", json={"item": "coffee"})
    qemu.run_until_idle()

    assert "no coffee in stock" in qemu.app_errors[0].traceback
    assert qemu.dlq[0].status == 500


def test_a_forged_request_is_refused(qemu, client):
    signature = qemu.sign(b"{}", f"{APP_URL}/confirm", "wrong-key")
    headers = {"Upstash-Signature": signature}

    assert client.post("/confirm", data=b"{}", headers=headers).status_code == 401
