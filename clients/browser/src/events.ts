import { type Change, isEnd, type Kind, type Position, type Task } from "./protocol.ts";

/**
 * One thing that happened to a task, and the task as it is after it.
 *
 * `kind` is "snapshot" for the whole task as it stands: at the start of a watch, and where events were skipped. `merged`
 * earlier events are in this one. In a tree, `task.id` says whose it is.
 */
export interface WatchEvent {
  kind: Kind | "snapshot";
  at: Position;
  task: Task;
  data: Record<string, unknown>;
  merged: number;
  traceparent?: string | undefined;
  /** Whether the task that is watched is over: nothing follows. */
  last: boolean;
}

/** "live": the feed is on; read the list, then apply changes. `reset`: some were missed, read it again. */
export type FeedEvent = { kind: "live"; reset: boolean } | Change;

const MERGE_AFTER = 256;
const DROP_AFTER = 8192;

/** Let a reader that is far behind get fewer events, never other ones: add `event` to those that wait. */
export function enqueue(waiting: WatchEvent[], event: WatchEvent): void {
  const before = waiting.at(-1);
  if (waiting.length >= DROP_AFTER) {
    const newest = new Map<string, WatchEvent>();
    for (const one of waiting.splice(0)) {
      const merged = (newest.get(one.task.id)?.merged ?? -1) + 1 + one.merged;
      newest.delete(one.task.id);
      newest.set(one.task.id, { ...one, kind: isEnd(one.kind) ? one.kind : "snapshot", data: {}, merged });
    }
    waiting.push(...newest.values());
  } else if (
    waiting.length >= MERGE_AFTER &&
    event.kind === "progress" &&
    before?.kind === "progress" &&
    before.task.id === event.task.id
  ) {
    waiting.pop();
    event = { ...event, data: { ...before.data, ...event.data }, merged: before.merged + 1 + event.merged };
  }
  waiting.push(event);
}

/** The same for changes: who reads the list again needs none of those before. */
export function enqueueChange(waiting: FeedEvent[], event: FeedEvent): void {
  if (waiting.length >= DROP_AFTER) waiting.splice(0, DROP_AFTER, { kind: "live", reset: true });
  waiting.push(event);
}
