from fastapi import FastAPI

app = FastAPI()
charged = set()


@app.post("/charge")
def charge(order: dict):
    if order["id"] in charged:
        return {"charged": "before"}
    charged.add(order["id"])
    print("charged", order["id"], flush=True)
    return {"charged": "now"}
