// Every method of client.flowControl.

import { Client } from "@upstash/qstash";
import { given, report } from "./report.mjs";
import { reached } from "./feed.mjs";

const [url, silentUrl] = given;
const client = new Client();
const { flowControl } = client;

async function status(promise) {
  try {
    await promise;
    return 200;
  } catch (error) {
    return error.status;
  }
}

async function publish(limits, request = { url: "http://x", delay: "1h" }) {
  const { messageId } = await client.publish({ ...request, flowControl: limits });
  return messageId;
}

report({ name: "get(unknown)", status: await status(flowControl.get("k")) });
const held = { url: silentUrl, retries: 0 };
for (let each = 0; each < 4; each += 1) {
  await publish({ key: "busy", parallelism: 3, rate: 5, period: "1m" }, held);
}
report({ name: "get", answer: await flowControl.get("busy") });
report({ name: "getGlobalParallelism", answer: await flowControl.getGlobalParallelism() });

const shown = {};
for (const [name, limits] of Object.entries({
  rate: { rate: 1 },
  ratePerSecond: { ratePerSecond: 5 },
  "rate and period": { rate: 23, period: "1h30m3s" },
  "period in seconds": { rate: 5, period: 2 },
  parallelism: { parallelism: 5 },
  all: { parallelism: 3, rate: 5, period: "1d" },
})) {
  const message = await client.messages.get(await publish({ key: name, ...limits }));
  const { flowControlKey, parallelism, rate, ratePerSecond, period } = message;
  shown[name] = { flowControlKey, parallelism, rate, ratePerSecond, period };
}
report({ name: "messages.get", answer: shown });

await flowControl.pause("calm");
const calm = await publish({ key: "calm", rate: 1, period: "1h" }, { url });
report({ name: "pause", answer: await flowControl.get("calm") });
await flowControl.resume("calm");
await reached(calm, "DELIVERED");
const second = await publish({ key: "calm", rate: 1, period: "1h" }, { url });
report({ name: "resume", answer: await flowControl.get("calm") });
await flowControl.resetRate("calm");
await reached(second, "DELIVERED");
report({ name: "resetRate", answer: await flowControl.get("calm") });

await flowControl.pin("k", { parallelism: 3, rate: 20, period: 120 });
await publish({ key: "k", parallelism: 1, rate: 1 });
report({ name: "pin", answer: await flowControl.get("k") });
await flowControl.unpin("k", { parallelism: true });
report({ name: "unpin(parallelism)", answer: await flowControl.get("k") });
await publish({ key: "k", parallelism: 1, rate: 1 });
report({ name: "unpin(parallelism), published", answer: await flowControl.get("k") });
await flowControl.unpin("k", { rate: true, parallelism: false });
await publish({ key: "k", rate: 4, period: 7 });
report({ name: "unpin(rate), published", answer: await flowControl.get("k") });
report({ name: "pin(nothing)", status: await status(flowControl.pin("k", {})) });
