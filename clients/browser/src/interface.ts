import type { FeedEvent, WatchEvent } from "./events.ts";
import type { Refused, Task } from "./protocol.ts";
import type { Rollup } from "./rollup.ts";

export type Token = string | (() => string | Promise<string>);

export interface Options {
  /** Where everything is, if one address serves all; default: the page's own. */
  url?: string;
  /** The WebSocket, such as `wss://…/v1/stream`, if it is elsewhere. */
  stream?: string;
  /** The base URL of the notifier's HTTP port, for SSE; null: there is none. */
  events?: string | null;
  /** The base URL of the API; null: pages do not reach it. */
  api?: string | null;
  /** A watch token, or what gets one: called before each connection and when the one in use runs out. */
  token: Token;
  /** The W3C traceparent of a span of the page's, or what returns one: goes with each request over HTTP. */
  traceparent?: string | (() => string | undefined);
  onStatus?: (status: Status) => void;
}

/** How news comes now. `lag`: too slowly for all of it. `trouble`: why it is not by the WebSocket. */
export interface Status {
  via: "stream" | "events" | "polling" | undefined;
  lag: boolean;
  trouble: string | undefined;
}

export interface Callbacks<E> {
  signal?: AbortSignal;
  /** With a callback, events are not kept for an iteration. */
  onEvent?: (event: E) => void;
  onError?: (error: Refused) => void;
}

export interface WatchOptions extends Callbacks<WatchEvent> {
  /** Its descendants too, those to come included. */
  tree?: boolean;
  /** So many of the lines and chunks that were streamed before, at most 256. */
  tail?: number;
  /** Told whenever the task, or one below it, is seen to have moved. */
  onProgress?: (progress: Rollup, event: WatchEvent) => void;
  onEnd?: (task: Task) => void;
}

/** A task that is watched: iterate over it, or give callbacks. It ends by itself after the last event. */
export interface Watch extends AsyncIterable<WatchEvent> {
  /** The task once it is over. Rejects with Refused, or with AbortError when the watch was ended before. */
  readonly finished: Promise<Task>;
  /** The task as it is known; undefined before the first event. */
  readonly task: Task | undefined;
  /** All that is known of its tree. */
  readonly tasks: Task[];
  readonly progress: Rollup;
  /** Seconds since the last event of a task (default: of this one); undefined: nobody knows. */
  noNewsSince(id?: string): number | undefined;
  close(): void;
}

export interface Feed extends AsyncIterable<FeedEvent> {
  close(): void;
}
