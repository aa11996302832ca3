"""emulator/testing/mounts.py, apps.py and lifespan.py: apps called in process."""

import asyncio
import functools
import logging
import sys
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI, Request
from flask import Flask, request
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse, StreamingResponse

from emulator.testing.apps import is_asgi
from tests.testing.calls import a_qemu, publish


class AnAsgiObject:
    async def __call__(self, scope, receive, send):
        pass


class AnAsgiTwin:
    def __call__(self, scope, receive, send):
        pass


class AWsgiObject:
    def __call__(self, environ, start_response):
        pass


async def an_asgi_function(scope, receive, send):
    pass


def a_wsgi_function(environ, start_response):
    pass


def a_wsgi_function_with_options(environ, start_response, debug=False):
    pass


@pytest.mark.parametrize(
    ("app", "verdict"),
    [
        (FastAPI(), True),
        (AnAsgiObject(), True),
        (AnAsgiTwin(), True),
        (an_asgi_function, True),
        (functools.partial(an_asgi_function), True),
        (Flask("app"), False),
        (AWsgiObject(), False),
        (a_wsgi_function, False),
        (a_wsgi_function_with_options, False),
    ],
)
def test_an_app_shows_how_it_wants_to_be_called(app, verdict):
    assert is_asgi(app) is verdict


@pytest.mark.parametrize(
    "app", [lambda *args: None, lambda request: None, AWsgiObject, "app:app", print]
)
def test_what_does_not_show_it_is_refused(app):
    with pytest.raises(TypeError):
        is_asgi(app)


def asgi_app(*failures, **options):
    """An app that fails as told, request by request, and then echoes."""
    app = FastAPI(**options)
    left = list(failures)

    @app.post("/hook")
    async def hook(incoming: Request):
        if left:
            raise left.pop(0)
        return {"url": str(incoming.url), "body": (await incoming.body()).decode()}

    return app


def wsgi_app(*failures):
    app = Flask("app")
    left = list(failures)

    @app.post("/hook/<name>")
    def hook(name):
        if left:
            raise left.pop(0)
        return {"name": name, "x": request.headers.get("X-Tenant"), "url": request.url}

    return app


def answers(qemu):
    return [(d.status, d.response_body) for d in qemu.deliveries]


def test_an_asgi_app_is_called_without_a_socket(kit):
    url = kit.mount("http://app.test", asgi_app())
    publish(kit, f"{url}/hook?a=b", {"order": 1})

    assert answers(kit) == [
        (200, b'{"url":"http://app.test/hook?a=b","body":"{\\"order\\": 1}"}')
    ]


def test_a_wsgi_app_is_called_without_a_socket(kit):
    """PEP 3333: texts are bytes in Latin-1, in the path as in headers."""
    kit.mount("https://app.test:8443", wsgi_app())
    publish(kit, "https://app.test:8443/hook/%C3%A4", forward_x_tenant="t1")
    delivery = kit.assert_delivered(times=1)[0]

    assert b'"name":"\\u00e4"' in delivery.response_body
    assert b'"x":"t1"' in delivery.response_body
    assert b"https://app.test:8443/hook/" in delivery.response_body


def test_the_kind_can_be_said(kit):
    kit.mount("http://asgi.test", asgi=asgi_app())
    kit.mount("http://wsgi.test", wsgi=wsgi_app())
    publish(kit, "http://asgi.test/hook")
    publish(kit, "http://wsgi.test/hook/a")

    assert [delivery.status for delivery in kit.deliveries] == [200, 200]


@pytest.mark.parametrize("apps", [{}, {"asgi": 1, "wsgi": 1}])
def test_one_app_is_mounted_at_a_time(kit, apps):
    with pytest.raises(TypeError, match="one app"):
        kit.mount("http://app.test", **apps)


@pytest.mark.parametrize(
    "url", ["http://app.test/api", "http://app.test?a", "ftp://app.test", "app.test"]
)
def test_an_app_is_mounted_at_an_origin(kit, url):
    with pytest.raises(ValueError, match="http"):
        kit.mount(url, asgi_app())


@pytest.mark.parametrize("url", ["http://APP.test/hook", "http://app.test:80/hook"])
def test_an_origin_may_be_spelled_otherwise(kit, url):
    kit.mount("http://app.test:80/", asgi_app())
    publish(kit, url)

    assert [delivery.status for delivery in kit.deliveries] == [200]


def test_what_is_not_mounted_is_called_over_http(kit):
    kit.mount("http://app.test", asgi_app())
    publish(kit, kit.endpoint("/hook").url)

    assert [delivery.status for delivery in kit.deliveries] == [200]


@pytest.mark.parametrize(("make", "path"), [(asgi_app, "/hook"), (wsgi_app, "/hook/a")])
def test_an_exception_is_a_failed_delivery_that_is_retried(kit, make, path):
    """DLV-11; Flask catches and logs it, Starlette answers and raises it."""
    kit.mount("http://app.test", make(KeyError("order")))
    publish(kit, f"http://app.test{path}")
    kit.run_until_idle()

    assert [delivery.status for delivery in kit.deliveries] == [500, 200]
    (error,) = kit.app_errors
    assert repr(error.exception) == "KeyError('order')"
    assert error.url == f"http://app.test{path}"
    assert "raise left.pop(0)" in error.traceback
    assert error.traceback in kit.timeline() + "\n"


def test_a_bare_app_that_raises_is_answered_for_with_500(kit):
    async def asgi(scope, receive, send):
        raise KeyError("order")

    def wsgi(environ, start_response):
        raise SystemExit(1)

    kit.mount("http://asgi.test", asgi)
    kit.mount("http://wsgi.test", wsgi)
    publish(kit, "http://asgi.test/", retries="0")
    kit.settle()
    publish(kit, "http://wsgi.test/", retries="0")

    assert [(m.status, m.response_body) for m in kit.dlq] == [
        (500, b"Internal Server Error")
    ] * 2
    assert [repr(error.exception) for error in kit.app_errors] == [
        "KeyError('order')",
        "SystemExit(1)",
    ]


def test_an_answer_that_is_broken_off_is_no_answer(kit):
    """DLV-16: even if it began with 200."""
    app = FastAPI()

    @app.post("/hook")
    async def hook():
        async def chunks():
            yield b"half"
            raise KeyError("rest")

        return StreamingResponse(chunks())

    kit.mount("http://app.test", app)
    publish(kit, "http://app.test/hook", retries="0")

    assert "broke off" in kit.dlq[0].error
    assert kit.dlq[0].status is None


def test_an_app_without_an_answer_is_answered_for_with_500(kit):
    async def app(scope, receive, send):
        pass

    kit.mount("http://app.test", app)
    publish(kit, "http://app.test/", retries="0")

    assert kit.dlq[0].status == 500
    assert "without a complete answer" in repr(kit.app_errors[0].exception)


def test_an_error_page_of_the_app_s_own_is_what_is_recorded(kit):
    app = asgi_app(KeyError("order"))
    app.add_exception_handler(
        Exception, lambda request, error: PlainTextResponse("sorry", 503)
    )
    kit.mount("http://app.test", app)
    publish(kit, "http://app.test/hook", retries="0")

    assert (kit.dlq[0].status, kit.dlq[0].response_body) == (503, b"sorry")
    assert len(kit.app_errors) == 1


def test_what_is_logged_outside_of_a_delivery_is_nobody_s_error(kit):
    kit.mount("http://app.test", asgi_app())
    try:
        raise KeyError("mine")
    except KeyError:
        logging.getLogger("mine").exception("mine")

    assert kit.app_errors == []


def test_a_compressed_answer_is_recorded_as_it_was_before(kit):
    """DLV-7."""
    app = asgi_app()
    app.add_middleware(GZipMiddleware, minimum_size=1)
    kit.mount("http://app.test", app)
    publish(kit, "http://app.test/hook", retries="0")

    assert answers(kit)[0][1].startswith(b'{"url"')


def test_a_handler_may_call_the_emulator_with_a_blocking_client(kit):
    app = FastAPI()

    @app.post("/first")
    async def first():
        publish(kit, "http://app.test/second")

    @app.post("/second")
    async def second():
        pass

    kit.mount("http://app.test", app)
    publish(kit, "http://app.test/first")
    kit.run_until_idle()

    # In either order: the second is under way before the first has answered.
    assert {(delivery.url, delivery.status) for delivery in kit.deliveries} == {
        ("http://app.test/first", 200),
        ("http://app.test/second", 200),
    }


def test_an_app_s_lifespan_surrounds_its_requests():
    story = []

    @asynccontextmanager
    async def lifespan(app):
        story.append("up")
        yield {"database": "open"}
        story.append("down")

    app = FastAPI(lifespan=lifespan)

    @app.post("/hook")
    async def hook(incoming: Request):
        story.append(incoming.state.database)

    with a_qemu() as qemu:
        qemu.mount("http://app.test", app)
        publish(qemu, "http://app.test/hook")
        qemu.run_until_idle()

    assert story == ["up", "open", "down"]


def test_an_app_that_can_not_start_is_not_mounted(kit):
    @asynccontextmanager
    async def lifespan(app):
        raise KeyError("no database")
        yield

    with pytest.raises(RuntimeError, match=r"(?s)startup failed.*no database"):
        kit.mount("http://app.test", FastAPI(lifespan=lifespan))


def test_an_app_replaces_the_one_before_it(kit):
    kit.mount("http://app.test", asgi_app(KeyError("never")))
    kit.mount("http://app.test", asgi_app())
    publish(kit, "http://app.test/hook")

    assert [delivery.status for delivery in kit.deliveries] == [200]


def test_a_delivery_that_times_out_cancels_its_handler():
    """DLV-22: as a client that goes away."""
    cancelled = []

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    with a_qemu() as qemu:
        qemu._grace_s = 0.1
        qemu.mount("http://app.test", app)
        publish(qemu, "http://app.test/", retries="0", timeout="1s")
        qemu.run_until_idle()
        assert len(qemu.dlq) == 1

    assert cancelled == [True]


def test_without_httpx_the_error_names_the_extra(kit, monkeypatch):
    monkeypatch.delitem(sys.modules, "emulator.testing.apps")
    monkeypatch.delitem(sys.modules, "emulator.testing.translation")
    monkeypatch.setitem(sys.modules, "httpx", None)

    with pytest.raises(ImportError, match=r"pip install qstash-qemu\[test\]"):
        kit.mount("http://app.test", asgi_app())
