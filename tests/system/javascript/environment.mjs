// Which server and which keys the SDK takes, from its options and its environment.

import { Client, Receiver } from "@upstash/qstash";
import { given, report } from "./report.mjs";

const [cases, tokens, region] = given;

for (const options of cases) {
  const client = new Client({ retry: false, ...options });
  try {
    const queues = await client.queue().list();
    report({ queues: queues.map(({ name }) => name) });
  } catch (error) {
    report({ status: error.status ?? null });
  }
}
for (const token of tokens) {
  const tolerances = [0, 60];
  const verified = [];
  for (const clockTolerance of tolerances) {
    try {
      const how = { ...token, clockTolerance, upstashRegion: region };
      verified.push(await new Receiver().verify(how));
    } catch {
      verified.push(false);
    }
  }
  report({ verified });
}
const methods = Object.getOwnPropertyNames(Client.prototype);
report({ keys: methods.filter((name) => /key/i.test(name)) });
