// What the SDK can ask for that isn't there: workflows, and a language model.

import { Client, upstash } from "@upstash/qstash";
import { given, report } from "./report.mjs";
import { reached } from "./feed.mjs";

const [callback] = given;
const client = new Client();

try {
  await client.workflow.cancel("wfr_1");
} catch ({ name, status, message }) {
  report({ name: "workflow.cancel", answer: { name, status, message } });
}

const { messageId } = await client.publishJSON({
  api: { name: "llm", provider: upstash() },
  callback,
  body: { n: 1 },
  retries: 0,
});
await reached(messageId, "FAILED");
report({ name: "api/llm", messageId, answer: await client.messages.get(messageId) });
