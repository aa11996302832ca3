// client.batch and client.batchJSON, and what else a publish can ask for.

import { Client } from "@upstash/qstash";
import { given, report } from "./report.mjs";

const [urls] = given;
const client = new Client({ headers: { "X-Client": "scenario", "X-Which": "the client's" } });

const batch = await client.batch([
  { url: urls.text, body: "one", headers: { "Content-Type": "text/plain" } },
  { url: urls.empty, method: "PUT", headers: { "X-Which": "the request's" } },
  { url: urls.text, deduplicationId: "batch-1" },
  { url: urls.text, deduplicationId: "batch-1" },
]);
report({ name: "batch", answer: batch });
const one = await client.batchJSON([{ url: urls.json, body: { n: 1 } }]);
report({ name: "batchJSON", answer: one });

const twice = { url: urls.twice, body: { n: 2 }, contentBasedDeduplication: true };
const first = await client.publishJSON(twice);
const second = await client.publishJSON(twice);
report({ name: "the same twice", answer: [first, second] });

try {
  await client.publish({ url: "ftp://example.com" });
} catch (error) {
  report({ name: "refused", status: error.status, message: error.message });
}
