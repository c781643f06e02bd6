import { now } from "./page.ts";
import { Refused } from "./protocol.ts";
import { jittered } from "./session.ts";
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
      await means.pause(means.calm ? CALM_POLL_MS : 100 + jittered(quiet, ...POLL_MS), signal);
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
  try {
    const answers: unknown[] = [];
    const until = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]);
    for (const path of means.api === null ? [] : subscription.polls()) {
      const response = await means.request(means.api + path, {}, until);
      if (response.ok) answers.push(await response.json());
      // The token may cover a task and no list: then its children are not heard of for a while.
      else if (!answers.length) throw await refusal(response);
    }
    if (signal.aborted || means.api === null) return false;
    means.tell("polling");
    return subscription.polled(answers, now());
  } catch (error) {
    if (signal.aborted) return false;
    means.tell(undefined);
    if (error instanceof Refused && Number(error.code) < 500 && error.code !== 429) {
      means.remove(subscription);
      subscription.refuse(error);
    }
    return false;
  }
}

/** Return what an answer other than 2xx says. */
export async function refusal(response: Response): Promise<Refused> {
  const problem = await response.json().catch(() => ({}));
  return new Refused(response.status, problem.detail ?? problem.title ?? `HTTP ${response.status}`);
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
