import assert from "node:assert/strict";
import { test } from "node:test";
import type { Milepost } from "../src/index.ts";
import { ID, task } from "./making.ts";

test("the files that are shipped go on together where no WebSocket gets through", async () => {
  const asked: string[] = [];
  Object.assign(globalThis, {
    WebSocket: class {
      constructor() {
        setTimeout(() => (this as unknown as WebSocket).onclose?.({ code: 1006, reason: "" } as CloseEvent), 1);
      }
      close() {}
    },
    fetch: async (url: string) => {
      asked.push(new URL(url).pathname);
      return url.endsWith("/events")
        ? new Response("no", { status: 503 })
        : Response.json(task({ state: "succeeded" }));
    },
  });
  const built: { Milepost: typeof Milepost } = await import(`${new URL("../dist/milepost.js", import.meta.url)}`);
  const client = new built.Milepost({ url: "https://tasks.example", token: "KEY" });
  assert.equal((await client.watch(ID).finished).state, "succeeded");
  assert.deepEqual(asked, [`/v1/tasks/${ID}/events`, `/v1/tasks/${ID}`]);
  client.close();
});
