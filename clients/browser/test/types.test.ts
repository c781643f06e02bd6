import { test } from "node:test";
import type { FeedEvent, Options, Rollup, Watch, WatchEvent } from "../dist/index.js";

test("the declarations that are shipped say what there is", () => {
  const typed = (options: Options, watch: Watch, event: WatchEvent, change: FeedEvent) => {
    const fraction: number = (watch.progress satisfies Rollup).fraction;
    const kind: string = change.kind === "live" ? `${change.reset}` : change.task;
    // @ts-expect-error a token is text, or a function that gets some
    options.token = 1;
    // @ts-expect-error there is no such state
    return [fraction, kind, event.task.state === "finished"];
  };
  void typed;
});
