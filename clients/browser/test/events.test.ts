import assert from "node:assert/strict";
import { test } from "node:test";
import { enqueue, enqueueChange, type FeedEvent, type WatchEvent } from "../src/events.ts";
import { Refused } from "../src/protocol.ts";
import { Reader } from "../src/reader.ts";
import { task } from "./making.ts";

const event = (kind: WatchEvent["kind"], seq: number, id = "a"): WatchEvent => ({
  kind,
  at: [1, seq],
  task: task({ id, ...(kind === "succeeded" && { state: "succeeded" }) }),
  data: { seq },
  merged: 0,
  last: false,
});
const told = (events: WatchEvent[]) => events.reduce((sum, one) => sum + 1 + one.merged, 0);

test("progress replaces progress for a slow reader, and nothing else is lost", () => {
  const waiting: WatchEvent[] = [];
  for (let seq = 0; seq < 400; seq++) enqueue(waiting, event("progress", seq));
  enqueue(waiting, event("succeeded", 400));
  assert.equal(waiting.length, 257);
  assert.equal(told(waiting), 401);
  assert.deepEqual(waiting.at(-2)?.data, { seq: 399 });
  assert.equal(waiting.at(-1)?.kind, "succeeded");
});

test("progress of one task does not replace that of another", () => {
  const waiting: WatchEvent[] = [];
  for (let seq = 0; seq < 400; seq++) enqueue(waiting, event("progress", seq, seq % 2 ? "a" : "b"));
  assert.equal(waiting.length, 400);
});

test("a reader that never reads costs bounded memory, and still learns of each end", () => {
  const waiting: WatchEvent[] = [];
  enqueue(waiting, event("succeeded", 0, "b"));
  for (let seq = 0; seq < 20_000; seq++) enqueue(waiting, event("log", seq));
  assert.ok(waiting.length <= 8192);
  assert.equal(told(waiting), 20_001);
  assert.equal(waiting[0]?.kind, "succeeded");
  assert.equal(waiting[1]?.kind, "snapshot");
});

test("a feed nobody reads asks for the list to be read again", () => {
  const waiting: FeedEvent[] = [];
  for (let seq = 0; seq < 10_000; seq++)
    enqueueChange(waiting, { task: "a", at: [1, seq], kind: "progress", data: {} });
  assert.deepEqual(waiting[0], { kind: "live", reset: true });
  assert.ok(waiting.length <= 8192);
});

test("what came before a failure is still read", async () => {
  const reader = new Reader(enqueue, () => {});
  reader.put(event("started", 1));
  reader.end(new Refused(4502, "forbidden"));
  assert.equal((await reader.next()).value?.kind, "started");
  await assert.rejects(reader.next(), { name: "Refused", code: 4502 });
});

test("leaving the loop ends the watch, once", async () => {
  let ended = 0;
  const reader = new Reader(enqueue, () => ended++);
  reader.put(event("started", 1));
  for await (const one of reader) {
    assert.equal(one.kind, "started");
    break;
  }
  reader.end();
  assert.equal(ended, 1);
});

test("a reader that waits is woken", async () => {
  const reader = new Reader(enqueue, () => {});
  const next = reader.next();
  reader.put(event("started", 1));
  assert.equal((await next).value?.kind, "started");
  const last = reader.next();
  reader.end();
  assert.equal((await last).done, true);
});
