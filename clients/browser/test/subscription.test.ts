import assert from "node:assert/strict";
import { test } from "node:test";
import type { FeedEvent, WatchEvent } from "../src/events.ts";
import type { Position } from "../src/protocol.ts";
import { Feeding, Watching } from "../src/subscription.ts";
import { CHILD, end, ev, ID, progress, snap, task } from "./making.ts";

function watching({ tree = false, tail = 0, epoch = 0 } = {}) {
  const events: WatchEvent[] = [];
  const watch = new Watching(ID, tree, tail, epoch, (event) => events.push(event), assert.fail);
  const kinds = () => events.map((event) => event.kind);
  return { watch, events, kinds };
}

test("a watch is told a snapshot, what follows, and one end", () => {
  const { watch, kinds, events } = watching();
  assert.equal(watch.take(snap([1, 3]), 0), undefined);
  assert.equal(watch.take(ev([1, 4], [1, 3], "progress", { progress: progress(1) }), 0), undefined);
  assert.equal(watch.take(ev([1, 5], [1, 4], "succeeded", { state: "succeeded" }), 0), "over");
  assert.equal(watch.take(end([1, 5]), 0), "over");
  assert.deepEqual(kinds(), ["snapshot", "progress", "succeeded"]);
  assert.deepEqual(
    events.map((event) => event.last),
    [false, false, true],
  );
});

test("a snapshot of what is over is its terminal event", () => {
  const { watch, kinds } = watching();
  assert.equal(watch.take(snap([1, 3], { state: "failed" }), 0), "over");
  assert.deepEqual(kinds(), ["failed"]);
});

test("an end from before a retry is not the end", () => {
  const { watch, kinds } = watching({ epoch: 2 });
  assert.equal(watch.take(snap([1, 3], { state: "failed" }), 0), undefined);
  assert.equal(watch.take(end([1, 3], "failed"), 0), "later");
  assert.equal(watch.polled([task({ state: "failed", epoch: 1 })], 0), false);
  assert.deepEqual(kinds(), []);
  assert.equal(watch.take(end([2, 1]), 0), "over");
});

test("events of children do not disturb the chain of a plain watch", () => {
  const { watch, kinds } = watching();
  watch.take(snap([1, 0]), 0);
  assert.equal(watch.take(ev([1, 7], [1, 6], "progress", {}, CHILD), 0), undefined);
  assert.equal(watch.take(ev([1, 1], [1, 0], "progress"), 0), undefined);
  assert.deepEqual(kinds(), ["snapshot", "progress"]);
});

test("a tree has a chain for each task, and is over when its root is", () => {
  const { watch, events } = watching({ tree: true });
  const child = { id: CHILD, parent_id: ID, state: "queued" as const, epoch: 0 };
  watch.take(snap([1, 0]), 0);
  watch.take(ev([0, 0], null, "queued", task(child), CHILD), 0);
  assert.equal(watch.take(ev([1, 0], [0, 0], "started", { state: "running" }, CHILD), 0), undefined);
  assert.equal(watch.take(ev([1, 1], [1, 0], "succeeded", { state: "succeeded" }, CHILD), 0), undefined);
  assert.equal(watch.take(ev([1, 1], [1, 0], "succeeded", { state: "succeeded" }), 0), "over");
  assert.deepEqual(
    events.map((event) => [event.task.id === ID, event.kind, event.last]),
    [
      [true, "snapshot", false],
      [false, "queued", false],
      [false, "started", false],
      [false, "succeeded", false],
      [true, "succeeded", true],
    ],
  );
});

test("a hole in any chain of a tree asks for a new subscription, which begins the chains anew", () => {
  const { watch, kinds } = watching({ tree: true });
  watch.take(snap([1, 0]), 0);
  watch.take(snap([1, 4], { id: CHILD, parent_id: ID }), 0);
  assert.equal(watch.take(ev([1, 9], [1, 8], "progress", {}, CHILD), 0), "lost");
  assert.deepEqual(watch.request(), { task: ID, from: [1, 0], tree: true });
  watch.take(snap([1, 9], { id: CHILD, parent_id: ID, progress: progress(9) }), 0);
  assert.equal(watch.take(ev([1, 10], [1, 9], "progress", {}, CHILD), 0), undefined);
  assert.deepEqual(kinds(), ["snapshot", "snapshot", "snapshot", "progress"]);
});

test("a subscription says where it goes on, unless it is to begin afresh", () => {
  const { watch } = watching({ tail: 20 });
  assert.deepEqual(watch.request(), { task: ID, tree: false, tail: 20 });
  watch.take(snap([1, 3]), 0);
  assert.deepEqual(watch.request(), { task: ID, from: [1, 3], tree: false, tail: 20 });
  assert.deepEqual(watch.request(true), { task: ID, tree: false, tail: 20 });
});

test("lines of the tail are told once, before the snapshot they belong to", () => {
  const { watch, events } = watching({ tail: 3 });
  const line = (seq: number) => ({ at: [1, seq] as Position, kind: "log" as const, data: { message: `${seq}` } });
  watch.take(snap([1, 3], {}, { tail: [line(1), line(2)] }), 0);
  watch.take(snap([1, 9], {}, { reset: true, tail: [line(2), line(3), line(5), line(8)] }), 0);
  assert.deepEqual(
    events.map((event) => event.data.message ?? event.kind),
    ["1", "2", "snapshot", "5", "8", "snapshot"],
  );
});

test("news are as old as the server says, and age from there", () => {
  const { watch } = watching();
  const at = () => watch.folds.get(ID)?.heardAt;
  watch.take(snap([1, 3], {}, { age: 4.5 }), 10_000);
  assert.equal(at(), 5_500);
  watch.take(ev([1, 4], [1, 3], "progress"), 12_000);
  assert.equal(at(), 12_000);
  watch.take(snap([1, 4]), 13_000);
  assert.equal(at(), 12_000);
});

test("a frame that cannot be read is said to be one", () => {
  for (const at of [null, [1], [1, "2"], {}, "1"])
    assert.throws(() => watching().watch.take({ ...snap([1, 1]), at: at as unknown as Position }, 0), TypeError);
});

test("asking tells of children before the end of their parent", () => {
  const { watch, events } = watching({ tree: true });
  const child = task({ id: CHILD, parent_id: ID, state: "succeeded" });
  assert.equal(watch.polled([child, task({ state: "succeeded" })], 0), true);
  assert.deepEqual(
    events.map((event) => [event.task.id, event.last]),
    [
      [CHILD, false],
      [ID, true],
    ],
  );
  assert.equal(watch.isOver(), true);
});

test("a feed that comes back says that changes were missed", () => {
  const events: FeedEvent[] = [];
  const feed = new Feeding({ queue: "q" }, (event) => events.push(event), assert.fail);
  assert.deepEqual(feed.request(), { feed: "tasks", filter: { queue: "q" } });
  feed.take({ t: "live", id: 1 });
  const change = { task: ID, at: [0, 0] as Position, kind: "queued" as const, data: {} };
  feed.take({ t: "changes", id: 1, changes: [change] });
  feed.take({ t: "live", id: 2 });
  feed.polled();
  assert.deepEqual(events, [
    { kind: "live", reset: false },
    change,
    { kind: "live", reset: true },
    { kind: "live", reset: true },
  ]);
});
