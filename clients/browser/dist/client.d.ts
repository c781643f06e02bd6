import { type FeedEvent } from "./events.js";
import type { Callbacks, Feed, Options, Status, Watch, WatchOptions } from "./interface.js";
import { type Filter, type Task } from "./protocol.js";
/**
 * Watch tasks. All watches share one WebSocket, or a few if they are more than one carries; without it they go on by SSE, and
 * by asking the API.
 */
export declare class Milepost {
    #private;
    constructor(options: Options);
    /** How news comes now; of several lines, over the worst. */
    get status(): Status;
    /** Watch a task, by its id or as the API gave it, to its end. */
    watch(task: string | Pick<Task, "id" | "epoch">, options?: WatchOptions): Watch;
    /** Be told of every change of the tenant's tasks that match. */
    feed(filter?: Filter, options?: Callbacks<FeedEvent>): Feed;
    /** Read a task from the API. Throws Refused, or what `fetch` throws. */
    get(id: string): Promise<Task>;
    /** Read a page of tasks from the API, newest first. Throws as `get`. */
    list(query?: Record<string, string>): Promise<{
        items: Task[];
        next: string | null;
    }>;
    /** End everything. Tasks go on. */
    close(): void;
}
