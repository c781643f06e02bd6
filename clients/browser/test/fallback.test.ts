import assert from "node:assert/strict";
import { test } from "node:test";
import { fallBack, type Means, type Way } from "../src/fallback.ts";
import { Refused } from "../src/protocol.ts";
import { Watching } from "../src/subscription.ts";
import { CHILD, end, ID, progress, snap, task } from "./making.ts";

const EVENTS = "https://events.example";
const STREAM = { headers: { "Content-Type": "text/event-stream" } };

type Answer = (path: string, headers: Record<string, string>) => Response;

/** Follow a task while the network answers like this, until the task is over or refused. */
async function followed(answer: Answer, { tree = false, at = undefined as [number, number] | undefined } = {}) {
  const kinds: string[] = [];
  const told: string[] = [];
  const ways: (Way | undefined)[] = [];
  const asked: string[] = [];
  const errors: Refused[] = [];
  const stop = new AbortController();
  const watch = new Watching(
    ID,
    tree,
    0,
    0,
    (event) => {
      kinds.push(event.kind);
      told.push(event.task.id);
    },
    (error) => {
      errors.push(error);
      stop.abort();
    },
  );
  if (at) watch.take(snap(at), 0);
  const means: Means = {
    api: "https://api.example",
    calm: false,
    request: async (url, headers) => {
      asked.push(url);
      assert.ok(asked.length < 50, "it goes on for ever");
      return answer(url, headers);
    },
    read: async (path, signal) => {
      const response = await means.request(means.api + path, {}, signal);
      const body = await response.json().catch(() => ({}));
      if (response.ok) return body;
      throw new Refused(response.status, body.detail);
    },
    pause: () => Promise.resolve(),
    tell: (way) => ways.push(way),
    remove: () => {},
  };
  await fallBack(watch, means, EVENTS, stop.signal);
  return { kinds, told, ways, asked, errors };
}

const frames = (...list: object[]) => list.map((frame) => `data: ${JSON.stringify(frame)}\n\n`).join("");

test("a stream is followed to its end, from where the watch was", async () => {
  const { kinds, ways, asked } = await followed(
    (_, headers) => {
      assert.equal(headers["Last-Event-ID"], "1:3");
      return new Response(frames(snap([1, 4], { progress: progress(4) }), end([1, 9])), STREAM);
    },
    { at: [1, 3] },
  );
  assert.deepEqual(kinds, ["snapshot", "snapshot", "succeeded"]);
  assert.deepEqual(ways, ["events"]);
  assert.deepEqual(asked, [`${EVENTS}/v1/tasks/${ID}/events`]);
});

test("what is no stream, such as a page of a hotel, is not taken for one", async () => {
  const { kinds, ways } = await followed((url) =>
    url.startsWith(EVENTS)
      ? new Response("<h1>Welcome!</h1>", { headers: { "Content-Type": "text/html" } })
      : Response.json(task({ state: "succeeded" })),
  );
  assert.deepEqual(kinds, ["succeeded"]);
  assert.deepEqual(ways, ["polling"]);
});

test("a stream that breaks off is made up for by asking", async () => {
  const { kinds } = await followed((url) =>
    url.startsWith(EVENTS) ? new Response(frames(snap([1, 4])), STREAM) : Response.json(task({ state: "failed" })),
  );
  assert.deepEqual(kinds, ["snapshot", "failed"]);
});

test("only the API's word ends a watch", async () => {
  const { errors } = await followed((url) =>
    url.startsWith(EVENTS)
      ? new Response("no", { status: 401 })
      : Response.json({ detail: "You have no task with this id." }, { status: 404 }),
  );
  assert.deepEqual([errors[0]?.code, errors[0]?.message], [404, "You have no task with this id."]);
});

test("an API that is away or busy is asked again", async () => {
  let times = 0;
  const { kinds, errors, ways } = await followed((url) => {
    if (url.startsWith(EVENTS)) return new Response("no", { status: 503 });
    if (++times === 1) return new Response("no", { status: 503 });
    if (times === 2) return new Response("no", { status: 429 });
    if (times === 3) throw new TypeError("cannot connect");
    return Response.json(task({ state: "succeeded" }));
  });
  assert.deepEqual(kinds, ["succeeded"]);
  assert.deepEqual(errors, []);
  assert.deepEqual(ways, [undefined, undefined, undefined, "polling"]);
});

test("a token that covers no list still shows its task", async () => {
  const { kinds } = await followed(
    (url) => {
      if (url.startsWith(EVENTS)) return new Response("no", { status: 404 });
      return url.includes("?") ? new Response("no", { status: 403 }) : Response.json(task({ state: "succeeded" }));
    },
    { tree: true },
  );
  assert.deepEqual(kinds, ["succeeded"]);
});

test("a token for a task below another shows its children, for it may see no more", async () => {
  const { told } = await followed(
    (url) => {
      if (url.startsWith(EVENTS)) return new Response("no", { status: 404 });
      if (url.includes("root=")) return new Response("no", { status: 403 });
      if (!url.includes("?")) return Response.json(task({ state: "succeeded", root_id: "r", parent_id: "r" }));
      assert.match(url, new RegExp(`parent=${ID}`));
      return Response.json({ items: [task({ id: CHILD, parent_id: ID, root_id: "r" })], next: null });
    },
    { tree: true },
  );
  assert.deepEqual(told, [CHILD, ID]);
});

test("a whole tree is asked for page by page, and shown from the top down to its end", async () => {
  const root = "01941f29-7c00-7d3e-8a5b-0242ac120001";
  const below = (parent_id: string, id: string) => task({ id, parent_id, root_id: root });
  // As the API lists it, the newest first. The task that is watched is itself below another, and has a sister.
  const pages = [
    { items: [below("e", "f"), below(CHILD, "e")], next: "more" },
    { items: [below("s", "n"), below(ID, CHILD), below(root, "s"), below(root, ID)], next: null },
  ];
  const { told, asked } = await followed(
    (url) => {
      if (url.startsWith(EVENTS)) return new Response("no", { status: 404 });
      if (!url.includes("?")) return Response.json({ ...below(root, ID), state: "succeeded" });
      return Response.json(pages[url.includes("cursor=more") ? 1 : 0]);
    },
    { tree: true },
  );
  assert.deepEqual(told, [CHILD, "e", "f", ID]);
  assert.equal(asked[2], `https://api.example/v1/tasks?root=${root}&limit=200`);
});

test("of a tree without end no more is asked for than the stream tells of", async () => {
  const { asked } = await followed(
    (url) => {
      if (url.startsWith(EVENTS)) return new Response("no", { status: 404 });
      if (!url.includes("?")) return Response.json(task({ state: "succeeded" }));
      return Response.json({ items: [], next: "more" });
    },
    { tree: true },
  );
  assert.equal(asked.length, 2 + 5);
});
