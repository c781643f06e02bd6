import type { Means, Way } from "./fallback.ts";
import type { Options, Status, Token } from "./interface.ts";
import { call, now } from "./page.ts";
import { Refused, SUBPROTOCOL } from "./protocol.ts";
import { Session } from "./session.ts";
import type { Subscription } from "./subscription.ts";

const TICK_MS = 1_000;
/** So many watches by SSE: browsers open six connections to a host, and the API may be on it. Others ask, in turns. */
const MOST_STREAMS = 4;
/** After so long the file with the other ways is asked for again, if it could not be had. */
const LOAD_MS = 10_000;

/** Drives the session by a real WebSocket, real time and the page's own state, and the other ways while it is away. */
export class Line implements Means {
  readonly #token: Token;
  readonly #stream: string;
  readonly #events: string | null;
  readonly api: string | null;
  readonly #trace: Options["traceparent"];
  readonly #onStatus: ((status: Status) => void) | undefined;
  readonly #session: Session;
  readonly #falls = new Map<Subscription, AbortController>();
  readonly #closed = new AbortController();
  #known: string | undefined;
  #line: { socket?: WebSocket } | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #way: Way | undefined;
  readonly #wakes = new Set<() => void>();
  status: Status = { via: undefined, lag: false, trouble: undefined };

  /** `overflow` is handed subscriptions that are more than the server takes on one connection. */
  constructor(options: Options, overflow: (subscription: Subscription) => void) {
    const { url, stream, events, api, token, onStatus } = options;
    const base = (url ?? location.origin).replace(/\/$/, "");
    this.#token = token;
    this.#trace = options.traceparent;
    this.#session = new Session(typeof token === "function", overflow);
    this.#onStatus = onStatus;
    this.#stream = stream ?? `${base.replace(/^http/, "ws")}/v1/stream`;
    this.#events = events === undefined ? base : events;
    this.api = api === undefined ? base : api;
    const { signal } = this.#closed;
    for (const [target, ...kinds] of [
      [globalThis.window, "online", "offline", "pageshow"],
      [globalThis.document, "visibilitychange"],
    ] as const)
      for (const kind of kinds) target?.addEventListener(kind, () => this.#wake(), { signal });
    this.#wake();
  }

  /** End for good; there is nothing to be told any more. */
  close(): void {
    this.#closed.abort();
    this.#session.lost("closed", now());
    this.#pump();
  }

  add(subscription: Subscription): void {
    this.#session.add(subscription, now());
    this.#pump();
  }

  remove(subscription: Subscription): void {
    this.#session.remove(subscription, now());
    this.#pump();
  }

  hasRoom(): boolean {
    return this.#session.hasRoom();
  }

  get calm(): boolean {
    return this.#session.calm;
  }

  tell(way: Way | undefined): void {
    this.#way = way;
    this.#pump();
  }

  /** Bring sockets, timers and other ways in line with what the session wants. */
  #pump(): void {
    const session = this.#session;
    const at = now();
    session.tick(at);
    if (session.phase === "idle" || session.phase === "waiting") this.#hangUp();
    else if (!this.#line) this.#call();
    if (session.stale) {
      session.stale = false;
      // A token that never changes is of no use a second time.
      if (typeof this.#token === "function") {
        const line = this.#line;
        this.#fresh().then(
          (token) => {
            if (line !== this.#line) return;
            session.hello(token);
            this.#pump();
          },
          () => {}, // the server closes with 4003, and then it is asked for again
        );
      }
    }
    const socket = this.#line?.socket;
    if (socket?.readyState === 1) for (const frame of session.outbox.splice(0)) socket.send(JSON.stringify(frame));
    const away = session.isAway(at);
    for (const [subscription, fall] of this.#falls)
      if (!away || !session.subscriptions.has(subscription)) {
        this.#falls.delete(subscription);
        fall.abort();
      }
    if (away)
      for (const subscription of session.subscriptions)
        if (!this.#falls.has(subscription)) {
          const fall = new AbortController();
          const events = this.#falls.size < MOST_STREAMS ? this.#events : null;
          this.#falls.set(subscription, fall);
          import("./fallback.ts").then(
            ({ fallBack }) => fallBack(subscription, this, events, fall.signal),
            () =>
              this.pause(LOAD_MS, fall.signal).then(
                () => this.#falls.get(subscription) === fall && this.#falls.delete(subscription),
              ),
          );
        }
    this.#report();
    clearTimeout(this.#timer);
    if (session.phase !== "idle")
      this.#timer = setTimeout(
        () => this.#pump(),
        session.phase === "waiting" ? Math.min(TICK_MS, Math.max(0, session.retryAt - at)) : TICK_MS,
      );
  }

  #report(): void {
    const { phase, lag, trouble } = this.#session;
    if (!this.#falls.size) this.#way = undefined;
    const status: Status = { via: phase === "up" ? "stream" : this.#way, lag, trouble };
    if (`${Object.values(status)}` === `${Object.values(this.status)}`) return;
    this.status = status;
    call(this.#onStatus, status);
  }

  #call(): void {
    const session = this.#session;
    const line: { socket?: WebSocket } = {};
    this.#line = line;
    const during = (act: () => void) => {
      if (this.#line !== line) return;
      try {
        act();
      } catch (error) {
        this.#hangUp();
        session.lost(`${error}`, now());
      }
      this.#pump();
    };
    this.#fresh().then(
      (token) =>
        during(() => {
          const socket = new WebSocket(this.#stream, SUBPROTOCOL);
          line.socket = socket;
          socket.onopen = () => during(() => session.opened(token));
          socket.onmessage = ({ data }) => during(() => session.take(JSON.parse(data), now()));
          socket.onclose = ({ code, reason }) =>
            during(() => {
              this.#line = undefined;
              session.closed(code, reason, now());
            });
        }),
      (error) =>
        during(() => {
          throw error;
        }),
    );
  }

  #hangUp(): void {
    this.#line?.socket?.close();
    this.#line = undefined;
  }

  #wake(): void {
    const session = this.#session;
    session.calm = !!globalThis.document?.hidden || globalThis.navigator?.onLine === false;
    session.nudge(now());
    if (!session.calm) for (const wake of this.#wakes) wake();
    this.#pump();
  }

  pause(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        this.#wakes.delete(wake);
        signal.removeEventListener("abort", wake);
        resolve();
      };
      const timer = setTimeout(wake, ms * Math.max(1, this.#falls.size / MOST_STREAMS));
      this.#wakes.add(wake);
      signal.addEventListener("abort", wake);
    });
  }

  async #fresh(): Promise<string> {
    const token = this.#token;
    this.#known = typeof token === "function" ? await token() : token;
    return this.#known;
  }

  async request(url: string, headers: Record<string, string>, signal?: AbortSignal): Promise<Response> {
    for (let first = true; ; first = false) {
      const token = await (this.#known ?? this.#fresh());
      const trace = typeof this.#trace === "function" ? this.#trace() : this.#trace;
      const init: RequestInit = {
        headers: { ...headers, ...(trace && { traceparent: trace }), Authorization: `Bearer ${token}` },
      };
      if (signal) init.signal = signal;
      const response = await fetch(url, init);
      if (response.status !== 401 || !first || typeof this.#token !== "function") return response;
      this.#known = undefined;
    }
  }

  async read<T>(path: string, signal?: AbortSignal): Promise<T> {
    const response = await this.request(this.api + path, {}, signal);
    if (response.ok) return response.json();
    const problem = await response.json().catch(() => ({}));
    throw new Refused(response.status, problem.detail ?? problem.title ?? `HTTP ${response.status}`);
  }
}
