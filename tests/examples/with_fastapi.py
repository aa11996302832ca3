import os

import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.testclient import TestClient
from qstash import QStash, Receiver

APP_URL = "http://app.test"

app = FastAPI()
confirmed = []


@app.post("/order")
def order(item: dict):
    QStash(os.environ["QSTASH_TOKEN"]).message.publish_json(
        url=f"{APP_URL}/confirm", body=item
    )


@app.post("/confirm")
async def confirm(request: Request):
    receiver = Receiver(
        os.environ["QSTASH_CURRENT_SIGNING_KEY"], os.environ["QSTASH_NEXT_SIGNING_KEY"]
    )
    body = (await request.body()).decode()
    try:
        receiver.verify(
            signature=request.headers["Upstash-Signature"],
            body=body,
            url=f"{APP_URL}/confirm",
        )
    except Exception:
        raise HTTPException(401) from None
    item = await request.json()
    if item["item"] == "coffee":
        raise RuntimeError("no coffee in stock")
    confirmed.append(item)


@pytest.fixture
def client(qemu):
    qemu.mount(APP_URL, app)
    confirmed.clear()
    return TestClient(app)


def test_an_order_is_confirmed(qemu, client):
    client.post("/order", json={"item": "tea"})
    qemu.run_until_idle()

    assert confirmed == [{"item": "tea"}]


def test_an_error_of_the_app_is_a_failed_delivery(qemu, client):
    client.post("/order", json={"item": "coffee"})
    qemu.run_until_idle()

    assert len(qemu.app_errors) == 4
    assert qemu.dlq[0].status == 500


@pytest.mark.parametrize("kind", ["wrong-key", "expired", "wrong-body"])
def test_a_forged_request_is_refused(qemu, client, kind):
    signature = qemu.sign(b"{}", f"{APP_URL}/confirm", kind)
    headers = {"Upstash-Signature": signature}

    assert client.post("/confirm", content=b"{}", headers=headers).status_code == 401


async def test_an_asynchronous_test_awaits_the_clock(qemu):
    qemu.mount(APP_URL, app)
    QStash(os.environ["QSTASH_TOKEN"]).message.publish_json(
        url=f"{APP_URL}/confirm", body={"item": "tea"}
    )
    await qemu.aio.run_until_idle()

    qemu.assert_delivered(f"{APP_URL}/confirm")
