import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { CLOSE_CODES, reconnects } from "../src/protocol.ts";

test("close codes are those of docs/protocol.md, and so is what follows from each", () => {
  const document = readFileSync("../../docs/protocol.md", "utf8");
  const rows = [...document.matchAll(/^\| (\d{4}) \| ([^|]+) \| ([^|]+) \|$/gm)];
  assert.ok(rows.length > 5);
  assert.deepEqual(Object.fromEntries(rows.map(([, code, reason]) => [code, reason])), CLOSE_CODES);
  for (const [, code, , action] of rows) {
    assert.equal(reconnects(Number(code)), /reconnect/.test(action as string), code);
    assert.equal(!reconnects(Number(code)), /^stop/.test(action as string), code);
  }
});
