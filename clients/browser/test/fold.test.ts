import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Fold, LOST } from "../src/fold.ts";
import { isLater, isOver, type Kind, type Position } from "../src/protocol.ts";
import { progress, task } from "./making.ts";

function joined(epoch = 1, seq = 5): Fold {
  const fold = new Fold();
  assert.equal(fold.snapshot([epoch, seq], task({ epoch })), true);
  return fold;
}

test("a patch replaces members and keeps the others", () => {
  const fold = joined();
  assert.equal(fold.event([1, 6], [1, 5], "progress", { progress: progress(3) }), true);
  assert.deepEqual(fold.task, task({ progress: progress(3) }));
});

test("null is a value like any other", () => {
  const fold = joined();
  fold.event([1, 6], [1, 5], "progress", { progress: progress(3) });
  fold.event([2, 0], [1, 6], "queued", { progress: null });
  assert.equal(fold.task?.progress, null);
  assert.equal(fold.task?.epoch, 2);
});

test("what is streamed moves the position and not the task", () => {
  for (const kind of ["log", "step", "output"] as Kind[]) {
    const fold = joined();
    assert.equal(fold.event([1, 6], [1, 5], kind, { state: "failed" }), true);
    assert.equal(fold.task?.state, "running");
    assert.deepEqual(fold.at, [1, 6]);
  }
});

test("a terminal event without a state says by its kind what the state is", () => {
  const fold = joined();
  fold.event([1, 6], [1, 5], "cancelled", {});
  assert.equal(fold.task?.state, "cancelled");
});

test("another prev than the own position is a loss, a copy is not", () => {
  const fold = joined();
  assert.equal(fold.event([1, 8], [1, 7], "progress", {}), LOST);
  assert.deepEqual(fold.at, [1, 5]);
  assert.equal(fold.event([1, 4], [1, 3], "progress", {}), false);
  assert.equal(new Fold().event([1, 1], [1, 0], "progress", {}), LOST);
});

test("an older snapshot moves the chain and not the task", () => {
  const fold = joined(2, 5);
  assert.equal(fold.snapshot([2, 1], task({ epoch: 2, progress: progress(1) })), false);
  assert.equal(fold.event([2, 2], [2, 1], "progress", { progress: progress(2) }), false);
  assert.equal(fold.event([2, 6], [2, 2], "progress", { progress: progress(7) }), true);
  assert.equal(fold.task?.progress?.done, 7);
});

test("an old view that says it is over is still the word that it is", () => {
  const fold = joined(1, 9);
  assert.equal(fold.snapshot([1, 7], task({ state: "failed" })), true);
  assert.deepEqual(fold.at, [1, 9]);
  assert.equal(fold.snapshot([1, 7], task({ state: "failed" })), false);
});

test("a child's first event holds the whole child, and so does a retry", () => {
  const fold = new Fold();
  assert.equal(fold.event([0, 0], null, "queued", { ...task({ state: "queued", epoch: 0 }) }), true);
  assert.equal(fold.event([1, 0], [0, 0], "succeeded", { state: "succeeded" }), true);
  assert.equal(fold.event([0, 0], null, "queued", { ...task({ state: "queued", epoch: 0 }) }), false);
  assert.equal(fold.event([2, 0], null, "queued", { ...task({ state: "queued", epoch: 2 }) }), true);
  assert.equal(fold.task?.state, "queued");
});

test("links stay when a view has none", () => {
  const links = { self: "/x", result: "", events: "", cancel: "", stream: "" };
  const fold = new Fold();
  fold.snapshot([1, 0], task({ links }));
  fold.snapshot([1, 2], task({ links: null }));
  assert.deepEqual(fold.task?.links, links);
});

test("a poll that says nothing new is silent, and one that is behind is not shown", () => {
  const fold = joined(1, 8);
  assert.equal(fold.polled(task({ progress: progress(1) })), false);
  assert.equal(fold.polled(task({ progress: progress(1) })), false);
  assert.equal(fold.polled(task({ progress: progress(2) })), true);
  assert.deepEqual(fold.at, [1, 8]);
});

test("in another outage what a poll shows first may again be behind", () => {
  const fold = joined(1, 8);
  fold.polled(task({ progress: progress(1) }));
  assert.equal(fold.event([1, 9], [1, 8], "progress", { progress: progress(9) }), true);
  assert.equal(fold.polled(task({ progress: progress(7) })), false);
  assert.equal(fold.task?.progress?.done, 9);
  assert.equal(fold.polled(task({ progress: progress(10) })), true);
});

test("a line that was tried and said nothing hides no news", () => {
  const fold = joined(1, 8);
  assert.equal(fold.polled(task({ progress: progress(1) })), false);
  fold.resume();
  assert.equal(fold.polled(task({ progress: progress(2) })), true);
});

test("a poll shows another epoch, state or end at once", () => {
  assert.equal(joined(1, 8).polled(task({ state: "queued", epoch: 2 })), true);
  assert.equal(joined(1, 8).polled(task({ state: "waiting" })), true);
  const fold = joined(1, 8);
  assert.equal(fold.polled(task({ state: "succeeded" })), true);
  assert.equal(fold.polled(task({ state: "succeeded", finished_at: "x" })), false);
  assert.equal(joined(2, 0).polled(task({ state: "failed", epoch: 1 })), false);
});

test("whatever is lost or doubled, nothing is shown twice and the end is the truth", () => {
  const history = fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 3 }).map((epochs) => {
    const events: { at: Position; kind: Kind; data: object }[] = epochs.flatMap((count, epoch) =>
      Array.from({ length: count }, (_, seq) => ({
        at: [epoch, seq] as const,
        kind: "progress" as const,
        data: { progress: progress(epoch * 10 + seq) },
      })),
    );
    const [epoch, seq] = events.at(-1)?.at ?? [0, 0];
    events.push({ at: [epoch, seq + 1], kind: "succeeded", data: { state: "succeeded" } });
    return events;
  });
  const line = fc.array(fc.constantFrom("deliver", "lose", "double", "reconnect", "snapshot", "older"), {
    maxLength: 40,
  });
  fc.assert(
    fc.property(history, line, (events, faults) => {
      const view = (upTo: number) =>
        task(Object.assign({ epoch: events[upTo]?.at[0] }, ...events.slice(0, upTo + 1).map((one) => one.data)));
      const fold = new Fold();
      const shown: Position[] = [];
      const note = (news: boolean) => news && fold.at && shown.push(fold.at);
      const place = (at: Position | undefined) => events.findIndex((one) => one.at === at) + 1;
      note(fold.snapshot((events[0] as (typeof events)[0]).at, view(0)));
      let sent = events[0]?.at;
      let next = 1;
      // After the bad line a good one: what was lost shows, and everything comes again from where the client was.
      for (const fault of [...faults, ...Array(2 * events.length + 2).fill("deliver")]) {
        const event = events[next];
        if (fault === "snapshot" || fault === "older") {
          const upTo = fault === "older" ? 0 : next - 1;
          sent = events[upTo]?.at as Position;
          next = upTo + 1;
          note(fold.snapshot(sent, view(upTo)));
        } else if (fault === "reconnect" || !event) {
          sent = fold.resume();
          next = place(sent);
        } else {
          for (let times = { deliver: 1, lose: 0, double: 2 }[fault as "lose"]; times; times--) {
            const news = fold.event(event.at, sent ?? null, event.kind, { ...event.data });
            if (news !== LOST) note(news);
            else {
              sent = fold.resume();
              next = place(sent) - 1;
              break;
            }
          }
          if (next === events.indexOf(event)) sent = event.at;
          next++;
        }
      }
      assert.ok(fold.task && isOver(fold.task));
      assert.deepEqual(fold.task, view(events.length - 1));
      for (const [index, at] of shown.entries()) assert.ok(isLater(at, shown[index - 1]), `${shown}`);
    }),
    { numRuns: 2000 },
  );
});
