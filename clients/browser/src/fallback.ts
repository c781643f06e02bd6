// A file of its own, which pages load when they need it: nothing that runs may be imported from the rest, but sse.ts.
import type { Refused, Task } from "./protocol.ts";
import { EventText } from "./sse.ts";
import type { Request, Subscription } from "./subscription.ts";

export type Way = "events" | "polling";

/** What this needs of its surroundings. */
export interface Means {
  /** The API's base URL; null: there is none. */
  readonly api: string | null;
  readonly calm: boolean;
  /** Ask with the token. Throws what `fetch` throws. */
  request(url: string, headers: Record<string, string>, signal: AbortSignal): Promise<Response>;
  /** Read JSON from the API. Throws Refused, or what `fetch` throws. */
  read<T>(path: string, signal: AbortSignal): Promise<T>;
  /** Wait so many ms, or until the page is back or the signal aborts. */
  pause(ms: number, signal: AbortSignal): Promise<void>;
  /** Say which way works now; undefined: none. */
  tell(way: Way | undefined): void;
  /** The subscription will get nothing more. */
  remove(subscription: Subscription): void;
}

/** The server says something every 15 s. */
const SILENT_MS = 35_000;
const ANSWER_MS = 10_000;
const POLL_MS = [500, 5_000] as const;
const CALM_POLL_MS = 30_000;
/** Of a tree as many as the stream tells of: so many pages of 200. */
const PAGES = 5;

const now = () => performance.now();

/**
 * Serve a subscription without the WebSocket, by SSE, and by asking where that cannot be had, until aborted.
 *
 * `events` is the base URL of SSE; null: there is none.
 */
export async function fallBack(
  subscription: Subscription,
  means: Means,
  events: string | null,
  signal: AbortSignal,
): Promise<void> {
  for (let failures = 0; !signal.aborted && !subscription.isOver(); ) {
    const began = now();
    if (events !== null) {
      try {
        await listen(subscription, means, events, signal);
      } catch {
        // Whatever it was, it is tried again; meanwhile the API is asked.
      }
      failures = now() - began > SILENT_MS ? 0 : failures + 1;
    }
    const until = now() + Math.min(60_000, 1_000 * 2 ** failures);
    let quiet = 0;
    while (!signal.aborted && !subscription.isOver()) {
      quiet = (await ask(subscription, means, signal)) ? 0 : quiet + 1;
      if (signal.aborted || subscription.isOver()) break;
      await means.pause(
        means.calm ? CALM_POLL_MS : 100 + Math.random() * Math.min(POLL_MS[1], POLL_MS[0] * 2 ** quiet),
        signal,
      );
      if (events !== null && now() >= until) break;
    }
  }
  if (!signal.aborted) means.remove(subscription);
}

/** Follow the SSE stream until it ends; throws if there is none. */
async function listen(subscription: Subscription, means: Means, base: string, signal: AbortSignal): Promise<void> {
  const ended = new AbortController();
  const end = () => ended.abort();
  const until = AbortSignal.any([signal, ended.signal]);
  let timer = setTimeout(end, SILENT_MS);
  try {
    const request = subscription.request();
    const headers: Record<string, string> = { Accept: "text/event-stream" };
    if (request.from) headers["Last-Event-ID"] = request.from.join(":");
    const response = await means.request(base + path(request), headers, until);
    if (!response.ok || !response.body || !/event-stream/.test(response.headers.get("Content-Type") ?? ""))
      throw new Error(`HTTP ${response.status}`);
    means.tell("events");
    const text = new EventText();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done || signal.aborted) return;
      clearTimeout(timer);
      timer = setTimeout(end, SILENT_MS);
      for (const data of text.push(value)) {
        const frame = JSON.parse(data);
        const verdict = subscription.take(frame, now());
        if (verdict || frame.t === "err" || frame.t === "bye") return;
      }
    }
  } finally {
    clearTimeout(timer);
    end();
  }
}

/** Ask the API once; return whether anything changed. */
async function ask(subscription: Subscription, means: Means, signal: AbortSignal): Promise<boolean> {
  if (means.api === null) return false;
  try {
    const until = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]);
    const tasks = subscription.id ? await tasksOf(subscription.id, subscription.tree, means, until) : [];
    if (signal.aborted) return false;
    means.tell("polling");
    return subscription.polled(tasks, now());
  } catch (error) {
    if (signal.aborted) return false;
    means.tell(undefined);
    if (isFinal(error)) {
      means.remove(subscription);
      subscription.refuse(error);
    }
    return false;
  }
}

/** Return a task as the API shows it, last, and before it what is below it, each after its parent. */
async function tasksOf(id: string, tree: boolean | undefined, means: Means, signal: AbortSignal): Promise<Task[]> {
  const top = await means.read<Task>(`/v1/tasks/${id}`, signal);
  let newest: Task[] = [];
  // A token may cover a task below another, of whose tree it may see that task and its children.
  for (const filter of tree ? [{ root: top.root_id }, { parent: id }] : [])
    try {
      newest = await pages(filter, means, signal);
      break;
    } catch (error) {
      if (!isFinal(error)) throw error;
    }
  const below = new Set<string | null>([id]);
  return [...newest.reverse().filter((task) => below.has(task.parent_id) && below.add(task.id)), top];
}

/** Return what the API lists, newest first. */
async function pages(filter: Record<string, string>, means: Means, signal: AbortSignal): Promise<Task[]> {
  const found: Task[] = [];
  let next: string | null = "";
  for (let page = 0; page < PAGES && next !== null; page++) {
    const query = new URLSearchParams({ ...filter, limit: "200", ...(next && { cursor: next }) });
    const list: { items: Task[]; next: string | null } = await means.read(`/v1/tasks?${query}`, signal);
    found.push(...list.items);
    next = list.next;
  }
  return found;
}

/** Whether the API itself said no. */
function isFinal(error: unknown): error is Refused {
  const code = (error as Refused).code;
  return typeof code === "number" && code >= 400 && code < 500 && code !== 429;
}

/** Where the same is to be had by SSE. */
function path({ task, tree, tail, filter = {} }: Request): string {
  const query = new URLSearchParams();
  if (tree) query.set("tree", "true");
  if (tail) query.set("tail", `${tail}`);
  const { labels = {}, ...plain } = filter;
  for (const [name, value] of Object.entries(plain)) query.set(name, value);
  for (const [name, value] of Object.entries(labels)) query.append("label", `${name}=${value}`);
  const text = `${query}`;
  return `/v1/${task ? `tasks/${task}/` : ""}events${text && `?${text}`}`;
}
