import json
import os

from fastapi import FastAPI, HTTPException, Request
from qstash import QStash, Receiver

URL = os.environ.get("APP_URL", "http://localhost:8000")

app = FastAPI()
qstash = QStash(os.environ["QSTASH_TOKEN"])
receiver = Receiver(
    os.environ["QSTASH_CURRENT_SIGNING_KEY"],
    os.environ["QSTASH_NEXT_SIGNING_KEY"],
)
stock = {"tea"}


@app.post("/order")
def take_order(order: dict):
    return qstash.message.publish_json(
        url=f"{URL}/confirm", body=order, retries=2, retry_delay="2000"
    )


@app.post("/stock/{item}")
def add_to_stock(item: str):
    stock.add(item)


@app.post("/confirm")
async def confirm_order(request: Request):
    body = (await request.body()).decode()
    signature = request.headers["Upstash-Signature"]
    receiver.verify(signature=signature, body=body, url=f"{URL}/confirm")
    item = json.loads(body)["item"]
    if item not in stock:
        raise HTTPException(503, f"no {item} in stock")
    print("confirmed", body, flush=True)
