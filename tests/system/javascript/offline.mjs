// Loaded before a scenario: the SDK finds no network, and so no newer dev server.

import https from "node:https";
import { syncBuiltinESMExports } from "node:module";

https.get = () => {
  throw new Error("offline");
};
syncBuiltinESMExports();
