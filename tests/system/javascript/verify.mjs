// Verifies deliveries, one JSON line each on standard input.

import { createInterface } from "node:readline";
import { Receiver } from "@upstash/qstash";
import { report } from "./report.mjs";

const receiver = new Receiver();

for await (const line of createInterface({ input: process.stdin })) {
  const { signature, body, url } = JSON.parse(line);
  try {
    report({ verified: await receiver.verify({ signature, body, url }) });
  } catch (error) {
    report({ verified: false, reason: error.message });
  }
}
