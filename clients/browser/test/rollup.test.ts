import assert from "node:assert/strict";
import { test } from "node:test";
import { rollup } from "../src/rollup.ts";
import { CHILD, ID, progress, task } from "./making.ts";

const child = (n: number, members: object) => task({ id: `${CHILD}${n}`, parent_id: ID, ...members });

test("a leaf is as far as it says, and nowhere when nobody knows", () => {
  assert.equal(rollup([task({ progress: progress(25) })], ID).fraction, 0.25);
  assert.equal(rollup([task({ progress: progress(25, null) })], ID).fraction, 0);
  assert.equal(rollup([task({ progress: progress(130) })], ID).fraction, 1);
  assert.equal(rollup([task()], ID).fraction, 0);
});

test("what is over is whole, however it ended", () => {
  assert.equal(rollup([task({ state: "failed", progress: progress(25) })], ID).fraction, 1);
});

test("a parent is the mean of its children, and of itself if it has a total", () => {
  const children = [child(1, { state: "succeeded" }), child(2, { progress: progress(50) })];
  assert.equal(rollup([task(), ...children], ID).fraction, 0.75);
  assert.equal(rollup([task({ progress: progress(0) }), ...children], ID).fraction, 0.5);
});

test("the tree is counted, whatever the order its tasks are known in", () => {
  const grandchild = task({ id: "g", parent_id: `${CHILD}1`, state: "failed" });
  const found = rollup([grandchild, child(1, {}), child(2, { state: "queued" }), task()], ID);
  assert.deepEqual(found, { fraction: 0.5, tasks: 4, running: 2, ended: 1, failed: 1 });
});

test("without its root a tree is nothing yet", () => {
  assert.deepEqual(rollup([child(1, {})], ID), { fraction: 0, tasks: 0, running: 0, ended: 0, failed: 0 });
});
