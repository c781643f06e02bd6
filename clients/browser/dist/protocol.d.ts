/** Words of the stream `milepost.v1`: docs/protocol.md. */
export declare const SUBPROTOCOL = "milepost.v1";
/** `[epoch, seq]`. The larger pair is later. */
export type Position = readonly [number, number];
export type State = "scheduled" | "queued" | "running" | "waiting" | "succeeded" | "failed" | "cancelled";
export type Kind = "queued" | "scheduled" | "started" | "progress" | "step" | "log" | "output" | "waiting" | "retrying" | "lease_lost" | "cancelling" | "succeeded" | "failed" | "cancelled";
/** `done` of `total` in `unit`; `rate` in units a second, `eta` in seconds. Null: nobody knows. */
export interface Progress {
    done: number;
    total: number | null;
    unit: string | null;
    message: string | null;
    rate: number | null;
    eta: number | null;
}
/** A task as the API shows it. Times are RFC 3339. */
export interface Task {
    id: string;
    type: string;
    queue: string;
    priority: "high" | "normal" | "low";
    state: State;
    attempt: number;
    max_attempts: number;
    epoch: number;
    labels: Record<string, string>;
    key: string | null;
    parent_id: string | null;
    root_id: string;
    progress: Progress | null;
    result?: unknown;
    error: {
        type: string;
        message: string;
        retryable?: boolean;
        traceback?: string | null;
    } | null;
    created_at: string;
    due_at: string | null;
    started_at: string | null;
    finished_at: string | null;
    trace_id: string | null;
    links?: {
        self: string;
        result: string;
        events: string;
        cancel: string;
        stream: string;
    } | null;
}
/** One event of a feed: `data` is a patch of the task. */
export interface Change {
    task: string;
    at: Position;
    kind: Kind;
    data: Partial<Task>;
    trace_id?: string;
}
/** Which tasks of the tenant a feed tells of: those that match every member given. */
export interface Filter {
    type?: string;
    queue?: string;
    labels?: Record<string, string>;
    parent?: string;
    root?: string;
}
/** What may come. Members and frames that are not known are ignored. */
export type ServerFrame = {
    t: "welcome";
    session: string;
    ping: number;
    max_subs: number;
    expires?: number;
} | {
    t: "snap";
    id: number;
    at: Position;
    task: Task;
    reset?: boolean;
    traceparent?: string;
    age?: number | null;
    tail?: {
        at: Position;
        kind: Kind;
        data: Record<string, unknown>;
    }[];
} | {
    t: "ev";
    id: number;
    task: string;
    at: Position;
    prev: Position | null;
    kind: Kind;
    data: Record<string, unknown>;
    merged?: number;
    traceparent?: string;
    trace_id?: string;
} | {
    t: "end";
    id: number;
    at: Position;
    task: Task;
} | {
    t: "live";
    id: number;
    reset?: boolean;
} | {
    t: "changes";
    id: number;
    changes: Change[];
} | {
    t: "err";
    id?: number;
    code: string;
    message: string;
} | {
    t: "lag";
    on: boolean;
} | {
    t: "refresh";
    in: number;
} | {
    t: "bye";
    after: number;
} | {
    t: "ping";
} | {
    t: "pong";
};
/** Why the server closes, as docs/protocol.md has it. */
export declare const CLOSE_CODES: Readonly<Record<number, string>>;
/** Whether coming back is of use after this close code. */
export declare function reconnects(code: number): boolean;
/** What the server will not do, with its reason. `code`: of an `err`, of a close, or an HTTP status. */
export declare class Refused extends Error {
    name: string;
    readonly code: string | number;
    constructor(code: string | number, message: string);
}
export declare function isOver(task: Pick<Task, "state">): boolean;
export declare function isEnd(kind: string): kind is "succeeded" | "failed" | "cancelled";
/** Whether `data` of an event of this kind is beside the task, and not a patch of it. */
export declare function isStreamed(kind: string): boolean;
/** Whether what is at `a` is news for somebody who has `b` (undefined: nothing). */
export declare function isLater(a: Position, b: Position | undefined): boolean;
export declare function isSame(a: Position | null | undefined, b: Position | null | undefined): boolean;
