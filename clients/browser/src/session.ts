import { LOST } from "./fold.ts";
import { CLOSE_CODES, Refused, reconnects, type ServerFrame } from "./protocol.ts";
import type { Request, Subscription } from "./subscription.ts";

export type ClientFrame =
  | { t: "hello"; token: string }
  | ({ t: "sub"; id: number } & Request)
  | { t: "unsub"; id: number }
  | { t: "ping" }
  | { t: "pong" };

const EXPIRED = 4003;
/** From connecting to welcome. */
const OPEN_MS = 10_000;
/** After so much silence the server is asked, and after so much more the line is dead; sooner if it pings more often. */
const SILENT_MS = 8_000;
/** So long for an answer when a page comes back to the foreground or to the network. */
const PROBE_MS = 4_000;
/** A subscription that is told nothing for so long subscribes again, and asks for a snapshot. */
const ANSWER_MS = 15_000;
const LATER_MS = 2_000;
/** A connection that lasted so long was a good one: the next wait is short again. */
const SETTLED_MS = 5_000;
/** Without a connection for so long, other ways are tried. */
const AWAY_MS = 2_000;
/** A connection that nobody needs is kept so long. */
const LINGER_MS = 10_000;

/** A wait of full jitter before try `attempt` (0 is the first), in ms. */
export function jittered(attempt: number, base: number, cap: number, random = Math.random): number {
  return random() * Math.min(cap, base * 2 ** attempt);
}

/**
 * One connection after the other, as a state machine: frames and time in, frames out. No socket, no clock, no timer.
 *
 * Whoever drives it keeps a socket open exactly while `phase` is `opening`, `greeting` or `up`, sends what is in `outbox`, and
 * calls `tick` about once a second and at `retryAt`. Times are ms of one monotonic clock.
 */
export class Session {
  phase: "idle" | "waiting" | "opening" | "greeting" | "up" = "idle";
  outbox: ClientFrame[] = [];
  readonly subscriptions = new Set<Subscription>();
  /** When the next connection is tried, while `waiting`. */
  retryAt = 0;
  /** The server sends snapshots instead of events: it is too much for this line. */
  lag = false;
  /** The token runs out: get another and say `hello` again. */
  stale = false;
  /** The page is hidden or off the network: try rarely, ask nothing. */
  calm = false;
  /** Why there is no connection. */
  trouble: string | undefined;

  readonly #numbers = new Map<number, Subscription>();
  #lastNumber = 0;
  #attempt = 0;
  #ping = 0;
  #since: number | undefined;
  #phaseAt = 0;
  #heardAt = 0;
  #answerBy: number | undefined;
  #bye: number | undefined;
  #welcomed = false;
  #idleAt = 0;
  /** So many subscriptions the server takes. */
  #most = Infinity;

  readonly #random: () => number;

  readonly #renews: boolean;

  readonly #overflow: (subscription: Subscription) => void;

  /**
   * `renews`: whether there will be another token when one runs out. `overflow` is handed subscriptions that are more than
   * the server takes on one connection.
   */
  constructor(
    renews = true,
    overflow: (subscription: Subscription) => void = () => {},
    random: () => number = Math.random,
  ) {
    this.#renews = renews;
    this.#overflow = overflow;
    this.#random = random;
  }

  hasRoom(): boolean {
    return this.subscriptions.size < this.#most;
  }

  /** Whether there has been no connection for so long that other ways are worth trying. */
  isAway(now: number): boolean {
    return this.#since !== undefined && now - this.#since >= AWAY_MS;
  }

  add(subscription: Subscription, now: number): void {
    this.subscriptions.add(subscription);
    if (this.phase === "up") this.#ask(subscription, now);
    else if (this.phase === "idle") this.#open(now);
  }

  remove(subscription: Subscription, now: number): void {
    if (!this.subscriptions.delete(subscription)) return;
    this.#drop(subscription);
    this.#idleAt = now;
    if (this.phase === "waiting" && !this.subscriptions.size) this.#rest();
  }

  /** The upgrade is done. */
  opened(token: string): void {
    this.phase = "greeting";
    this.hello(token);
  }

  hello(token: string): void {
    this.stale = false;
    this.outbox.push({ t: "hello", token });
  }

  /** Take a frame. Throws TypeError for one that cannot be read: then the connection is to be given up by `lost`. */
  take(frame: ServerFrame, now: number): void {
    this.#heardAt = now;
    this.#answerBy = undefined;
    if (frame.t === "welcome") this.#welcome(frame, now);
    else if (frame.t === "ping") this.outbox.push({ t: "pong" });
    else if (frame.t === "bye") this.#bye = frame.after;
    else if (frame.t === "lag") this.lag = frame.on;
    else if (frame.t === "refresh") this.stale = true;
    else if (frame.t === "err") this.#refused(frame.id, frame.code, frame.message, now);
    else if ("id" in frame) {
      const subscription = this.#numbers.get(frame.id);
      if (!subscription) return; // given up meanwhile
      subscription.askedAt = undefined;
      const verdict = subscription.take(frame, now);
      if (frame.t === "end") this.#numbers.delete(frame.id);
      if (verdict === LOST) this.#ask(subscription, now);
      else if (verdict === "over") this.remove(subscription, now);
      else if (verdict) this.#askLater(subscription, now); // of before a retry that the stream has not heard of
    }
  }

  /** The socket is closed. */
  closed(code: number, reason: string, now: number): void {
    const why = reason || CLOSE_CODES[code] || "no reason given";
    if (reconnects(code) && (this.#renews || code !== EXPIRED)) this.lost(`closed with ${code}: ${why}`, now);
    else this.#stop(new Refused(code, `The notifier closed the stream for good (${code}: ${why}).`));
  }

  /** The connection is of no use any more, or there was none; try again later. */
  lost(why: string, now: number): void {
    const settled = this.phase === "up" && now - this.#phaseAt >= SETTLED_MS;
    this.#attempt = settled ? 0 : this.#attempt + 1;
    this.#since ??= now;
    this.#rest();
    if (!this.subscriptions.size) return;
    this.phase = "waiting";
    this.trouble = why;
    this.retryAt = now + (this.#bye ?? this.#wait());
  }

  /** The page is back in the foreground or on the network, or off it: find out at once whether the line is alive. */
  nudge(now: number): void {
    if (this.phase === "up") this.#probe(now, PROBE_MS);
    else if (this.phase === "waiting" && !this.calm) {
      this.#attempt = 0;
      this.retryAt = now;
    }
  }

  tick(now: number): void {
    const silent = now - this.#heardAt;
    if (this.phase === "waiting") {
      if (now >= this.retryAt) this.#open(now);
    } else if (this.phase === "up") {
      if (this.#answerBy === undefined ? silent >= 2 * this.#ping : now >= this.#answerBy)
        this.lost(`nothing was heard for ${Math.round(silent / 1000)} s`, now);
      else if (!this.subscriptions.size) {
        if (now - this.#idleAt >= LINGER_MS) this.#rest();
      } else {
        const patience = Math.min(this.#ping, SILENT_MS);
        if (!this.calm && silent >= patience && this.#answerBy === undefined) this.#probe(now, patience);
        for (const subscription of this.subscriptions)
          if (subscription.askedAt !== undefined && now - subscription.askedAt >= ANSWER_MS)
            this.#ask(subscription, now, true);
      }
    } else if (this.phase !== "idle" && now - this.#phaseAt >= OPEN_MS) this.lost("no welcome", now);
  }

  #open(now: number): void {
    this.phase = "opening";
    this.#phaseAt = now;
    this.#since ??= now;
    this.#bye = undefined;
  }

  #rest(): void {
    this.phase = "idle";
    this.#numbers.clear();
    this.outbox = [];
    this.lag = this.stale = false;
    if (!this.subscriptions.size) this.#since = this.trouble = undefined;
  }

  #stop(error: Refused): void {
    const subscriptions = [...this.subscriptions];
    this.subscriptions.clear();
    this.#rest();
    for (const subscription of subscriptions) subscription.refuse(error);
  }

  #welcome({ ping, max_subs }: ServerFrame & { t: "welcome" }, now: number): void {
    this.#most = max_subs;
    if (this.phase === "up") return; // the answer to a hello with another token
    this.phase = "up";
    this.#phaseAt = now;
    this.#ping = ping * 1000;
    this.#welcomed = true;
    this.#since = this.trouble = undefined;
    this.#idleAt = now;
    const more = [...this.subscriptions].slice(max_subs);
    for (const subscription of more) this.subscriptions.delete(subscription);
    for (const subscription of this.subscriptions) this.#ask(subscription, now);
    more.map(this.#overflow);
  }

  #wait(): number {
    if (!this.calm) return jittered(this.#attempt, 250, this.#welcomed ? 10_000 : 60_000, this.#random);
    // Half of it for sure: a hidden page is in no hurry.
    return jittered(this.#attempt, 5_000, 60_000, () => (1 + this.#random()) / 2);
  }

  #probe(now: number, within: number): void {
    if (this.#answerBy === undefined) this.outbox.push({ t: "ping" });
    this.#answerBy = Math.min(this.#answerBy ?? Infinity, now + within);
  }

  #ask(subscription: Subscription, now: number, afresh?: boolean): void {
    this.#drop(subscription);
    subscription.number = ++this.#lastNumber;
    subscription.askedAt = now;
    this.#numbers.set(subscription.number, subscription);
    this.outbox.push({ t: "sub", id: subscription.number, ...subscription.request(afresh) });
  }

  #askLater(subscription: Subscription, now: number): void {
    subscription.askedAt = now - ANSWER_MS + LATER_MS;
  }

  /** Give up its number on this connection. */
  #drop(subscription: Subscription): void {
    if (this.#numbers.get(subscription.number) !== subscription) return;
    this.#numbers.delete(subscription.number);
    this.outbox.push({ t: "unsub", id: subscription.number });
  }

  /** One subscription cannot be had: now, or at all. */
  #refused(number: number | undefined, code: string, message: string, now: number): void {
    const subscription = this.#numbers.get(number ?? -1);
    // One that is in use goes on, and a tree goes on without those that are too many.
    if (!subscription || code === "duplicate_sub" || code === "too_many_children") return;
    this.#numbers.delete(subscription.number);
    if (code === "unavailable") this.#askLater(subscription, now);
    else {
      this.remove(subscription, now);
      // One that is too many where there is no other is so everywhere.
      if (code === "too_many_subs" && this.subscriptions.size) {
        this.#most = this.subscriptions.size;
        this.#overflow(subscription);
      } else subscription.refuse(new Refused(code, message));
    }
  }
}
