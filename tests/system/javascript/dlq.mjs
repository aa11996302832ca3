// Every method of client.dlq.

import { Client } from "@upstash/qstash";
import { given, report } from "./report.mjs";
import { reached } from "./feed.mjs";

const [url, recoveringUrl, callbackUrl] = given;
const client = new Client();
const { dlq } = client;

async function fail(options = {}) {
  const { messageId } = await client.publish({ url, retries: 0, ...options });
  await reached(messageId, "FAILED");
  return messageId;
}

async function list(request) {
  const { messages } = await dlq.listMessages(request);
  return messages;
}

async function dlqIds() {
  return (await list()).map((entry) => entry.dlqId);
}

const messageId = await fail({
  body: "tea",
  method: "PATCH",
  headers: { "Content-Type": "text/plain", "X-Trace": "t" },
  callback: callbackUrl,
  failureCallback: callbackUrl,
  retryDelay: "50",
  label: ["red", "job"],
});
report({ name: "listMessages", messageId, answer: await dlq.listMessages() });

const others = [await fail({ label: "red" }), await fail({ label: "blue" })];
async function found(request) {
  const ids = [messageId, ...others];
  return (await list(request)).map((entry) => ids.indexOf(entry.messageId));
}
const [first, second, third] = await dlqIds();
const selections = {
  "by nothing": undefined,
  "by label": { filter: { label: "red" } },
  "by label or label": { filter: { label: ["blue", "job"] } },
  "by status": { filter: { responseStatus: 503 } },
  "by another status": { filter: { responseStatus: 404 } },
  "by ids": { dlqIds: [third, first, "1-0"] },
};
for (const [name, request] of Object.entries(selections)) {
  report({ name, found: await found(request) });
}
const page = await dlq.listMessages({ count: 2 });
const rest = await dlq.listMessages({ count: 2, cursor: page.cursor });
report({
  name: "pages",
  sizes: [page.messages.length, rest.messages.length],
  ends: rest.cursor === undefined,
});

report({ name: "delete(id)", answer: await dlq.delete(first) });
try {
  await dlq.delete(first);
} catch (error) {
  report({ name: "delete(id), again", status: error.status });
}
report({ name: "delete(ids)", answer: await dlq.delete([first, second]) });
report({ name: "deleteMany", answer: await dlq.deleteMany({ dlqIds: [third] }) });
await fail({ label: "red" });
await fail({ label: "blue" });
const none = { filter: { label: "green" } };
report({ name: "delete(none)", answer: await dlq.delete(none) });
try {
  await dlq.delete({ filter: { labeel: "red" } });
} catch (error) {
  report({ name: "delete(misspelled)", status: error.status });
}
const reds = { filter: { label: "red" } };
report({ name: "delete({filter})", answer: await dlq.delete(reds) });
report({ name: "delete({all})", answer: await dlq.delete({ all: true }) });
report({ name: "delete({all}), again", answer: await dlq.delete({ all: true }) });

// This destination answers 503 once for each of the messages, and 200 from then on.
const recovering = { url: recoveringUrl };
const sources = [];
for (const label of ["one", "two", "red", "red", "blue"]) {
  sources.push(await fail({ ...recovering, label }));
}
const [one, two] = await dlqIds();
const retries = {
  "retry(id)": one,
  "retry(ids)": [two, "1-0"],
  "retry({filter})": { filter: { label: "red" } },
  "retry({all})": { all: true },
  "retry({all}), again": { all: true },
};
for (const [name, request] of Object.entries(retries)) {
  const { responses, cursor } = await dlq.retry(request);
  const revived = responses.map((response) => response.messageId);
  for (const each of revived) await reached(each, "DELIVERED");
  const areNew = !revived.some((each) => sources.includes(each));
  report({ name, retried: revived.length, areNew, ends: cursor === undefined });
}
try {
  await dlq.retry(one);
} catch (error) {
  report({ name: "retry(id), again", status: error.status });
}
report({ name: "what is left", left: await dlqIds() });
