// Publishes to language models and e-mail services, which the SDK turns into URLs.

import { Client, anthropic, custom, openai, resend } from "@upstash/qstash";
import { given, report } from "./report.mjs";
import { reached } from "./feed.mjs";

const [callback] = given;
const client = new Client();
const queue = client.queue({ queueName: "llm" });

const model = { model: "any", messages: [{ role: "user", content: "hello" }] };
const mail = { from: "a@x.example", to: ["b@x.example"], subject: "hello" };
const openaiApi = { name: "llm", provider: openai({ token: "o-token", organization: "org" }) };
const helicone = { name: "helicone", token: "h-token" };
const common = { callback, retries: 0 };

async function first(batch) {
  const [answer] = await batch;
  return answer;
}

const answers = {
  openai: client.publishJSON({ ...common, api: openaiApi, body: model }),
  anthropic: queue.enqueueJSON({
    ...common,
    api: { name: "llm", provider: anthropic({ token: "a-token" }) },
    body: model,
  }),
  custom: first(
    client.batchJSON([
      {
        ...common,
        api: {
          name: "llm",
          provider: custom({
            token: "c-token",
            baseUrl: "https://llm.example/api/v1/chat/completions",
          }),
        },
        body: model,
      },
    ]),
  ),
  helicone: client.publishJSON({
    ...common,
    api: { ...openaiApi, analytics: helicone },
    body: model,
  }),
  resend: client.publishJSON({
    ...common,
    api: { name: "email", provider: resend({ token: "r-token" }) },
    body: mail,
  }),
  "resend, batch": client.publishJSON({
    ...common,
    api: { name: "email", provider: resend({ token: "r-token", batch: true }) },
    body: [mail],
  }),
};
for (const [name, answer] of Object.entries(answers)) {
  const { messageId } = await answer;
  await reached(messageId, "DELIVERED");
  report({ name, messageId, answer: await client.messages.get(messageId) });
}
