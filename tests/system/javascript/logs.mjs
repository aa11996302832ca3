// client.logs and client.events: fields, filters, pages.

import { Client } from "@upstash/qstash";
import { given, report } from "./report.mjs";
import { reached } from "./feed.mjs";

const [flakyUrl, url] = given;
const client = new Client();

const flaky = await client.publishJSON({
  url: flakyUrl,
  body: { hello: "world" },
  headers: {
    "Upstash-Callback-Forward-X-From": "callback",
    "Upstash-Callback-Retries": "0",
    "Upstash-Failure-Callback-Forward-X-From": "failure",
  },
  callback: "http://localhost:1/callback",
  failureCallback: "http://localhost:1/failed",
  retries: 2,
  retryDelay: "50",
  timeout: 30,
  label: ["flaky", "job"],
});
const plain = await client.publish({ url, label: "plain" });
await reached(flaky.messageId, "DELIVERED");
await reached(plain.messageId, "DELIVERED");

async function states(request) {
  const { logs } = await client.logs(request);
  return logs.map((entry) => `${entry.label} ${entry.state}`);
}

const { logs, cursor } = await client.logs({ filter: { messageId: flaky.messageId } });
report({ name: "logs", messageId: flaky.messageId, logs, cursor });
report({ name: "events", events: (await client.events()).events.length });

const filters = {
  messageId: { messageId: plain.messageId },
  state: { state: "DELIVERED", label: ["flaky", "plain"] },
  "state of two": { state: ["CREATED", "RETRY"], label: "flaky" },
  url: { url },
  path: { path: new URL(url).pathname },
  "host and label": { host: new URL(url).host, label: ["plain", "other"] },
  "label, the second": { label: "job", state: "ERROR" },
  fromDate: { fromDate: new Date(Date.now() + 60_000) },
  toDate: { toDate: 1 },
};
for (const [name, filter] of Object.entries(filters)) {
  report({ name, states: await states({ filter }) });
}
const messageIds = [plain.messageId, "msg_unknown"];
report({ name: "messageIds", states: await states({ messageIds }) });

const pages = [];
let page = {};
do {
  page = await client.logs({ filter: { label: "plain" }, count: 2, cursor: page.cursor });
  pages.push(page.logs.map((entry) => entry.state));
} while (page.cursor);
report({ name: "pages", pages });
