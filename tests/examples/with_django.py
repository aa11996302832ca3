import json
import os

import django
import pytest
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.test import Client
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from qstash import QStash, Receiver

APP_URL = "http://app.test"

confirmed = []


@csrf_exempt
def order(request):
    QStash(os.environ["QSTASH_TOKEN"]).message.publish_json(
        url=f"{APP_URL}/confirm", body=json.loads(request.body)
    )
    return HttpResponse()


@csrf_exempt
def confirm(request):
    receiver = Receiver(
        os.environ["QSTASH_CURRENT_SIGNING_KEY"], os.environ["QSTASH_NEXT_SIGNING_KEY"]
    )
    try:
        receiver.verify(
            signature=request.headers["Upstash-Signature"],
            body=request.body.decode(),
            url=f"{APP_URL}/confirm",
        )
    except Exception:
        return HttpResponse(status=401)
    item = json.loads(request.body)
    if item["item"] == "coffee":
        raise RuntimeError("no coffee in stock")
    confirmed.append(item)
    return HttpResponse()


urlpatterns = [path("order", order), path("confirm", confirm)]

if not settings.configured:  # in a project: settings.py, and pytest-django
    settings.configure(
        ALLOWED_HOSTS=["app.test", "testserver"],
        ROOT_URLCONF=__name__,
        SECRET_KEY="test",
    )
    django.setup()


@pytest.fixture
def client(qemu):
    qemu.mount(APP_URL, get_wsgi_application())
    confirmed.clear()
    return Client()


def test_an_order_is_confirmed(qemu, client):
    client.post("/order", {"item": "tea"}, content_type="application/json")
    qemu.run_until_idle()

    assert confirmed == [{"item": "tea"}]


def test_an_error_of_the_app_is_a_failed_delivery(qemu, client):
    client.post("/order", {"item": "coffee"}, content_type="application/json")
    qemu.run_until_idle()

    assert "no coffee in stock" in qemu.app_errors[0].traceback
    assert qemu.dlq[0].status == 500


def test_a_forged_request_is_refused(qemu, client):
    headers = {"Upstash-Signature": qemu.sign(b"{}", f"{APP_URL}/confirm", "wrong-key")}
    answer = client.post(
        "/confirm", b"{}", content_type="application/json", headers=headers
    )

    assert answer.status_code == 401
