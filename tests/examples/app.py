import os

from fastapi import FastAPI, Request
from qstash import QStash, Receiver

URL = os.environ.get("APP_URL", "http://localhost:8000")

app = FastAPI()
qstash = QStash(os.environ["QSTASH_TOKEN"])
receiver = Receiver(
    os.environ["QSTASH_CURRENT_SIGNING_KEY"],
    os.environ["QSTASH_NEXT_SIGNING_KEY"],
)


@app.post("/order")
def take_order(order: dict):
    return qstash.message.publish_json(url=f"{URL}/confirm", body=order)


@app.post("/confirm")
async def confirm_order(request: Request):
    body = (await request.body()).decode()
    signature = request.headers["Upstash-Signature"]
    receiver.verify(signature=signature, body=body, url=f"{URL}/confirm")
    print("confirmed", body, flush=True)
