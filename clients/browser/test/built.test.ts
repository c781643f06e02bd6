import assert from "node:assert/strict";
import { test } from "node:test";
import type { Milepost } from "../src/index.ts";
import { ID, task } from "./making.ts";

test("the files that are shipped go on together where no WebSocket gets through", async () => {
  const asked: string[] = [];
  const traces: unknown[] = [];
  Object.assign(globalThis, {
    WebSocket: class {
      constructor() {
        setTimeout(() => (this as unknown as WebSocket).onclose?.({ code: 1006, reason: "" } as CloseEvent), 1);
      }
      close() {}
    },
    fetch: async (url: string, init: RequestInit) => {
      traces.push((init.headers as Record<string, string>).traceparent);
      asked.push(new URL(url).pathname);
      return url.endsWith("/events")
        ? new Response("no", { status: 503 })
        : Response.json(task({ state: "succeeded" }));
    },
  });
  const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const built: { Milepost: typeof Milepost } = await import(`${new URL("../dist/milepost.js", import.meta.url)}`);
  const client = new built.Milepost({ url: "https://tasks.example", token: "KEY", traceparent: () => trace });
  assert.equal((await client.watch(ID).finished).state, "succeeded");
  assert.deepEqual(asked, [`/v1/tasks/${ID}/events`, `/v1/tasks/${ID}`]);
  assert.deepEqual(traces, [trace, trace]);
  client.close();
});
