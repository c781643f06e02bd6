import { type Change, type Kind, type Position, type Task } from "./protocol.js";
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
export type FeedEvent = {
    kind: "live";
    reset: boolean;
} | Change;
/** Let a reader that is far behind get fewer events, never other ones: add `event` to those that wait. */
export declare function enqueue(waiting: WatchEvent[], event: WatchEvent): void;
/** The same for changes: who reads the list again needs none of those before. */
export declare function enqueueChange(waiting: FeedEvent[], event: FeedEvent): void;
