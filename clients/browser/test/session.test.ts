import assert from "node:assert/strict";
import { test } from "node:test";
import type { Refused, ServerFrame } from "../src/protocol.ts";
import { jittered, Session } from "../src/session.ts";
import { Watching } from "../src/subscription.ts";
import { end, ev, ID, snap, task } from "./making.ts";

const WELCOME: ServerFrame = { t: "welcome", session: "s", ping: 25, max_subs: 10 };

class Watched extends Watching {
  readonly errors: Refused[];

  constructor(id = ID) {
    const errors: Refused[] = [];
    super(
      id,
      false,
      0,
      0,
      () => {},
      (error) => errors.push(error),
    );
    this.errors = errors;
  }
}

function sent(session: Session): string[] {
  return session.outbox.splice(0).map((frame) => ("id" in frame ? `${frame.t} ${frame.id}` : frame.t));
}

function up(now = 0): { session: Session; watch: Watched } {
  const session = new Session(true, undefined, () => 1);
  const watch = new Watched();
  session.add(watch, now);
  assert.equal(session.phase, "opening");
  session.opened("KEY");
  session.take(WELCOME, now);
  assert.equal(session.phase, "up");
  assert.deepEqual(sent(session), ["hello", "sub 1"]);
  return { session, watch };
}

test("a session opens when somebody watches, and closes a while after nobody does", () => {
  const { session, watch } = up();
  session.remove(watch, 1_000);
  assert.deepEqual(sent(session), ["unsub 1"]);
  session.tick(10_000);
  assert.equal(session.phase, "up");
  session.tick(11_000);
  assert.equal(session.phase, "idle");
  session.add(watch, 12_000);
  assert.equal(session.phase, "opening");
});

test("all watches share the connection and are told apart", () => {
  const { session, watch } = up();
  const other = new Watched("other");
  session.add(other, 0);
  assert.deepEqual(sent(session), ["sub 2"]);
  session.take({ ...snap([1, 1]), id: 2, task: task({ id: "other" }) }, 0);
  assert.equal(other.folds.size, 1);
  assert.equal(watch.folds.size, 0);
});

test("a loss subscribes again from where the watch is, under another id", () => {
  const { session } = up();
  session.take(snap([1, 3]), 0);
  session.take(ev([1, 9], [1, 8], "progress"), 0);
  const [unsub, sub] = session.outbox.splice(0);
  assert.deepEqual(unsub, { t: "unsub", id: 1 });
  assert.deepEqual(sub, { t: "sub", id: 2, task: ID, from: [1, 3], tree: false });
  // What was on its way under the old id is of no concern.
  session.take(ev([1, 10], [1, 9], "progress"), 0);
  assert.deepEqual(sent(session), []);
});

test("after the end a watch is given up, and the socket is not", () => {
  const { session } = up();
  session.take(snap([1, 3]), 0);
  session.take(end([1, 5]), 0);
  assert.equal(session.subscriptions.size, 0);
  assert.deepEqual(sent(session), []);
  assert.equal(session.phase, "up");
});

test("pings are answered", () => {
  const { session } = up();
  session.take({ t: "ping" }, 0);
  assert.deepEqual(sent(session), ["pong"]);
});

test("a silent line is asked, and given up when nothing comes", () => {
  const { session } = up();
  session.tick(7_999);
  assert.deepEqual(sent(session), []);
  session.tick(8_000);
  session.tick(9_000);
  assert.deepEqual(sent(session), ["ping"]);
  session.take({ t: "pong" }, 9_500);
  session.tick(16_500);
  assert.equal(session.phase, "up");
  session.tick(17_500);
  session.tick(25_500);
  assert.equal(session.phase, "waiting");
  assert.match(session.trouble ?? "", /nothing was heard for 16 s/);
});

test("a hidden page asks nothing, and gives up after two of the server's pings", () => {
  const { session } = up();
  session.take(snap([1, 1]), 0);
  session.calm = true;
  session.tick(49_999);
  assert.deepEqual(sent(session), []);
  assert.equal(session.phase, "up");
  session.tick(50_000);
  assert.equal(session.phase, "waiting");
});

test("a page that comes back finds out at once whether the line is alive", () => {
  const { session } = up();
  session.nudge(30_000);
  assert.deepEqual(sent(session), ["ping"]);
  session.tick(33_999);
  assert.equal(session.phase, "up");
  session.tick(34_000);
  assert.equal(session.phase, "waiting");
});

test("a page that comes back does not wait for its turn", () => {
  const { session } = up();
  session.calm = true;
  session.closed(1006, "", 0);
  assert.ok(session.retryAt >= 5_000);
  session.nudge(100);
  session.tick(100);
  assert.equal(session.phase, "waiting", "it is still hidden");
  session.calm = false;
  session.nudge(200);
  session.tick(200);
  assert.equal(session.phase, "opening");
});

test("waits double up to their cap, are spread over all of it, and start anew after a good connection", () => {
  assert.equal(
    jittered(3, 250, 10_000, () => 1),
    2_000,
  );
  assert.equal(
    jittered(3, 250, 10_000, () => 0),
    0,
  );
  assert.equal(
    jittered(5_000, 250, 10_000, () => 1),
    10_000,
  );
  const { session } = up();
  let now = 1_000;
  const waits = [];
  for (let tries = 0; tries < 8; tries++) {
    session.closed(1006, "", now);
    waits.push(session.retryAt - now);
    now = session.retryAt;
    session.tick(now);
    assert.equal(session.phase, "opening");
  }
  assert.deepEqual(waits, [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000, 10_000]);
  session.opened("KEY");
  session.take(WELCOME, now);
  session.closed(1006, "", now + 6_000);
  assert.equal(session.retryAt - now - 6_000, 250);
});

test("a server that says goodbye says when to come back", () => {
  const { session, watch } = up();
  session.take(snap([1, 3]), 0);
  session.take({ t: "bye", after: 1234 }, 10);
  session.closed(4001, "draining", 20);
  assert.equal(session.retryAt, 1_254);
  session.tick(1_254);
  session.opened("KEY");
  sent(session);
  session.take(WELCOME, 1_300);
  assert.deepEqual(session.outbox.splice(0), [{ t: "sub", id: 2, task: ID, from: [1, 3], tree: false }]);
  assert.equal(watch.errors.length, 0);
  // The word holds for one time.
  session.closed(1006, "", 1_400);
  assert.ok(session.retryAt - 1_400 <= 1_000);
});

test("codes from 4500 to 4999 end all watches with the reason; the next watch tries again", () => {
  const { session, watch } = up();
  session.closed(4503, "over a limit: 1,000 connections", 0);
  assert.equal(watch.errors[0]?.code, 4503);
  assert.match(watch.errors[0]?.message ?? "", /over a limit: 1,000 connections/);
  assert.equal(session.phase, "idle");
  session.add(new Watched(), 10);
  assert.equal(session.phase, "opening");
});

test("an err ends one watch and leaves the others", () => {
  for (const code of ["not_found", "forbidden", "something_new"]) {
    const { session, watch } = up();
    const other = new Watched("other");
    session.add(other, 0);
    session.take({ t: "err", id: 1, code, message: "No." }, 0);
    assert.equal(watch.errors[0]?.code, code);
    assert.deepEqual([...session.subscriptions], [other]);
  }
});

test("what cannot be read just now is asked for again in a moment", () => {
  const { session, watch } = up();
  sent(session);
  session.take({ t: "err", id: 1, code: "unavailable", message: "Later." }, 0);
  session.tick(1_999);
  assert.deepEqual(sent(session), []);
  session.tick(2_000);
  assert.deepEqual(sent(session), ["sub 2"]);
  assert.deepEqual(watch.errors, []);
});

test("a tree with too many members goes on without some", () => {
  const { session, watch } = up();
  session.take({ t: "err", id: 1, code: "too_many_children", message: "1,000 are told." }, 0);
  assert.deepEqual(watch.errors, []);
  session.take(snap([1, 1]), 0);
  assert.equal(watch.folds.size, 1);
});

test("a subscription that is never answered asks for a snapshot", () => {
  const { session } = up();
  session.take(snap([1, 3]), 0);
  session.closed(1006, "", 1_000);
  session.tick(2_000);
  session.opened("KEY");
  session.take(WELCOME, 2_000);
  sent(session);
  for (let now = 3_000; now <= 17_000; now += 1_000) {
    session.take({ t: "pong" }, now);
    session.tick(now);
  }
  assert.deepEqual(session.outbox.splice(0), [
    { t: "unsub", id: 2 },
    { t: "sub", id: 3, task: ID, tree: false },
  ]);
});

test("a connection without a welcome is given up", () => {
  const session = new Session();
  session.add(new Watched(), 0);
  session.tick(9_999);
  assert.equal(session.phase, "opening");
  session.tick(10_000);
  assert.equal(session.phase, "waiting");
});

test("other ways are tried after two seconds without a connection, until there is one", () => {
  const session = new Session(true, undefined, () => 1);
  session.add(new Watched(), 1_000);
  assert.equal(session.isAway(2_999), false);
  session.closed(1006, "", 1_100);
  assert.equal(session.isAway(3_000), true);
  session.tick(session.retryAt);
  assert.equal(session.isAway(3_000), true);
  session.opened("KEY");
  session.take(WELCOME, 3_500);
  assert.equal(session.isAway(10_000), false);
});

test("a token that runs out is asked for, and told in another hello", () => {
  const { session } = up();
  session.take({ t: "refresh", in: 60 }, 0);
  assert.equal(session.stale, true);
  session.hello("NEW");
  assert.equal(session.stale, false);
  assert.deepEqual(session.outbox, [{ t: "hello", token: "NEW" }]);
});

test("the welcome to another token changes nothing", () => {
  const { session } = up();
  session.take(snap([1, 1]), 0);
  session.take({ ...WELCOME, expires: 900 }, 10_000);
  assert.deepEqual(sent(session), []);
});

test("a page with one token ends when that runs out, and one that can get others comes back", () => {
  const { session } = up();
  session.closed(4003, "token expired", 0);
  assert.equal(session.phase, "waiting");
  const single = new Session(false);
  const watch = new Watched();
  single.add(watch, 0);
  single.closed(4003, "token expired", 0);
  assert.equal(watch.errors[0]?.code, 4003);
});

test("a lagging line says so until it is lost", () => {
  const { session } = up();
  session.take({ t: "lag", on: true }, 0);
  assert.equal(session.lag, true);
  session.closed(4002, "too slow", 0);
  assert.equal(session.lag, false);
});

test("frames and members that are not known are ignored", () => {
  const { session } = up();
  session.take({ t: "weather", id: 1, sunny: true } as unknown as ServerFrame, 0);
  session.take({ ...snap([1, 1]), surprise: 1 } as ServerFrame, 0);
  assert.deepEqual(sent(session), []);
});

test("watches that are more than the server takes go elsewhere, and those it takes go on", () => {
  const elsewhere: unknown[] = [];
  const session = new Session(true, (subscription) => elsewhere.push(subscription));
  const watches = Array.from({ length: 4 }, (_, number) => new Watched(`${number}`));
  const [first, second, third, fourth] = watches;
  for (const watch of watches) session.add(watch, 0);
  assert.equal(session.hasRoom(), true);
  session.opened("KEY");
  session.take({ ...WELCOME, max_subs: 3 } as ServerFrame, 0);
  assert.deepEqual(sent(session), ["hello", "sub 1", "sub 2", "sub 3"]);
  assert.deepEqual(elsewhere, [fourth]);
  assert.equal(session.hasRoom(), false);
  // It may take fewer than it said.
  session.take({ t: "err", id: 3, code: "too_many_subs", message: "no" }, 0);
  assert.deepEqual(elsewhere, [fourth, third]);
  assert.equal(session.hasRoom(), false);
  session.remove(second as Watched, 0);
  assert.equal(session.hasRoom(), true);
  assert.deepEqual([...session.subscriptions], [first]);
  assert.deepEqual(
    watches.flatMap((watch) => watch.errors),
    [],
  );
  // One that is too many all by itself is so everywhere.
  session.remove(first as Watched, 0);
  const last = new Watched();
  session.add(last, 0);
  session.take({ t: "err", id: last.number, code: "too_many_subs", message: "no" }, 0);
  assert.equal(last.errors[0]?.code, "too_many_subs");
});
