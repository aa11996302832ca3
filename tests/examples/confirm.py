import os

from fastapi import FastAPI, HTTPException, Request

import emulator

URL = os.environ.get("APP_URL", "http://localhost:8000")

app = FastAPI()


@app.post("/confirm")
async def confirm_order(request: Request):
    explanation = emulator.explain(
        signature=request.headers.get("Upstash-Signature", ""),
        body=await request.body(),
        url=f"{URL}/confirm",
        current_signing_key=os.environ["QSTASH_CURRENT_SIGNING_KEY"],
        next_signing_key=os.environ["QSTASH_NEXT_SIGNING_KEY"],
    )
    if not explanation.is_valid:
        print(explanation, flush=True)
        raise HTTPException(401, "invalid signature")
    return {"confirmed": await request.json()}
