// Every method of client.messages.

import { Client } from "@upstash/qstash";
import { given, report } from "./report.mjs";
import { reached } from "./feed.mjs";

const [url, otherUrl] = given;
const client = new Client({ headers: { "X-Client": "scenario" } });

async function publish(options = {}) {
  const { messageId } = await client.publish({ url, delay: "1h", ...options });
  return messageId;
}

async function failure(promise) {
  try {
    return { succeeded: await promise };
  } catch (error) {
    return { name: error.name, status: error.status, message: error.message };
  }
}

const { messages } = client;
const messageId = await publish({
  body: "tea",
  method: "PUT",
  headers: {
    "content-type": "text/plain",
    "x-api-key": "k",
    "Upstash-Callback-Forward-X-From": "callback",
    "Upstash-Failure-Callback-Forward-X-From": "failure",
  },
  callback: "http://localhost:1/callback?a=1",
  failureCallback: "http://localhost:1/failed",
  retries: 7,
  retryDelay: "1000 * (1 + retried)",
  timeout: "30s",
  label: ["first", "second"],
});
report({ name: "get", messageId, answer: await messages.get(messageId) });

const binaryId = await publish({ url: otherUrl, delay: 0, body: new Uint8Array([255]) });
await reached(binaryId, "DELIVERED");
const binary = await messages.get(binaryId);
report({ name: "get, delivered", messageId: binaryId, answer: binary });

report({ name: "cancel(id)", answer: await messages.cancel(messageId) });
const again = await failure(messages.cancel(messageId));
report({ name: "cancel(id), again", messageId, answer: again });
report({ name: "get(unknown)", answer: await failure(messages.get("msg_unknown")) });
report({
  name: "delete(id)",
  answer: (await messages.delete(await publish())) ?? "nothing",
});

const ids = [await publish(), await publish()];
report({ name: "cancel(ids)", answer: await messages.cancel([...ids, messageId]) });
report({ name: "cancel([])", answer: await messages.cancel([]) });
report({ name: "deleteMany", answer: await messages.deleteMany([await publish()]) });

await publish({ label: "red" });
await publish({ label: "red", url: otherUrl });
await publish({ label: "blue" });
const filter = { label: ["red", "green"], url: otherUrl };
report({ name: "cancel({filter})", answer: await messages.cancel({ filter }) });
report({ name: "cancel({all})", answer: await messages.cancel({ all: true }) });
report({ name: "cancel({all}), again", answer: await messages.cancel({ all: true }) });
await publish();
report({ name: "deleteAll", answer: await messages.deleteAll() });
