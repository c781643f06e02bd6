import type { FeedEvent, WatchEvent } from "./events.ts";
import { Fold, LOST } from "./fold.ts";
import {
  type Filter,
  isLater,
  isOver,
  type Kind,
  type Position,
  type Refused,
  type ServerFrame,
  type Task,
} from "./protocol.ts";

/** What is to be done after a frame: subscribe again at once, or in a moment; or nothing more will come. */
export type Verdict = typeof LOST | "later" | "over" | undefined;

/** What somebody wants to be told, over whichever line. No socket; the time is passed in, in ms. */
export interface Subscription {
  /** Its id on the present connection. */
  number: number;
  /** When it subscribed, until the server says something of it. */
  askedAt: number | undefined;
  /** Begin on a new line: the members of `sub`. `afresh`: from a snapshot. */
  request(afresh?: boolean): Request;
  take(frame: ServerFrame, now: number): Verdict;
  /** The task it is to, with its descendants or without; undefined: it is to none. */
  readonly id?: string;
  readonly tree?: boolean;
  /** Take tasks as the API shows them while no line is there; return whether anything changed. */
  polled(tasks: Task[], now: number): boolean;
  isOver(): boolean;
  refuse(error: Refused): void;
}

export interface Request {
  task?: string;
  from?: Position;
  tree?: boolean;
  tail?: number;
  feed?: "tasks";
  filter?: Filter;
}

/** A task, or a task and its descendants. */
export class Watching implements Subscription {
  number = -1;
  askedAt: number | undefined;
  readonly folds = new Map<string, Fold>();

  /** `epoch`: one that the task is known to have reached; an end of one before is not the end (somebody retried). */
  constructor(
    readonly id: string,
    readonly tree: boolean,
    private readonly tail: number,
    private readonly epoch: number,
    private readonly tell: (event: WatchEvent) => void,
    readonly refuse: (error: Refused) => void,
  ) {}

  request(afresh?: boolean): Request {
    let from: Position | undefined;
    for (const [id, fold] of this.folds) {
      const at = fold.resume();
      if (id === this.id) from = at;
      else fold.sent = undefined;
    }
    return {
      task: this.id,
      ...(from && !afresh && { from }),
      tree: this.tree,
      ...(this.tail && { tail: this.tail }),
    };
  }

  take(frame: ServerFrame, now: number): Verdict {
    if (frame.t !== "snap" && frame.t !== "ev" && frame.t !== "end") return;
    const at = position(frame.at);
    const id = frame.t === "ev" ? frame.task : frame.task.id;
    if (id !== this.id && !this.tree) return;
    if (frame.t === "ev") {
      const fold = this.#fold(id);
      const news = fold.event(at, frame.prev && position(frame.prev), frame.kind, frame.data);
      if (news === LOST) return LOST;
      if (news) {
        fold.heardAt = now;
        this.#show(fold, frame.kind, frame.data, frame.merged, frame.traceparent);
      }
    } else {
      const task = frame.task;
      const stale = id === this.id && at[0] < this.epoch && isOver(task);
      if (!stale) {
        const fold = this.#fold(id);
        const before = fold.at;
        const news = fold.snapshot(at, task);
        const { tail = [], age, traceparent = undefined } = frame.t === "snap" ? frame : {};
        // Without an age: of now, unless something was heard before.
        if (typeof age === "number") fold.heardAt = now - age * 1000;
        else if (news) fold.heardAt ??= now;
        for (const one of tail) {
          const after = position(one.at);
          if (isLater(after, before)) this.tell({ ...one, task, merged: 0, last: false });
        }
        if (news) this.#show(fold, "snapshot", {}, 0, traceparent);
      }
    }
    return this.isOver() ? "over" : frame.t === "end" ? "later" : undefined;
  }

  polled(tasks: Task[], now: number): boolean {
    let news = false;
    for (const task of tasks) {
      if (task.id === this.id && task.epoch < this.epoch) continue;
      const fold = this.#fold(task.id);
      if (fold.polled(task)) {
        news = true;
        fold.heardAt = now;
        this.#show(fold, "snapshot", {});
      }
    }
    return news;
  }

  isOver(): boolean {
    const task = this.folds.get(this.id)?.task;
    return !!task && isOver(task);
  }

  #fold(id: string): Fold {
    let fold = this.folds.get(id);
    if (!fold) {
      fold = new Fold();
      this.folds.set(id, fold);
    }
    return fold;
  }

  #show(fold: Fold, kind: Kind | "snapshot", data: Record<string, unknown>, merged = 0, traceparent?: string): void {
    const { task, at } = fold;
    if (!task || !at) return;
    const over = isOver(task);
    // Whatever it was called: an event after which the task is over is its end.
    this.tell({
      kind: over ? (task.state as Kind) : kind,
      at,
      task,
      data,
      merged,
      traceparent,
      last: over && task.id === this.id,
    });
  }
}

/** All tasks of the tenant that match a filter. */
export class Feeding implements Subscription {
  number = -1;
  askedAt: number | undefined;
  #lived = false;

  constructor(
    private readonly filter: Filter | undefined,
    private readonly tell: (event: FeedEvent) => void,
    readonly refuse: (error: Refused) => void,
  ) {}

  request(): Request {
    return { feed: "tasks", ...(this.filter && { filter: this.filter }) };
  }

  take(frame: ServerFrame): Verdict {
    if (frame.t === "live") this.#live(!!frame.reset);
    else if (frame.t === "changes") for (const change of frame.changes) this.tell(change);
    return undefined;
  }

  /** Without a line nobody tells of changes: whoever shows a list reads it again. */
  polled(): boolean {
    this.#live(true);
    return false;
  }

  isOver(): boolean {
    return false;
  }

  #live(reset: boolean): void {
    this.tell({ kind: "live", reset: reset || this.#lived });
    this.#lived = true;
  }
}

/** Read `[epoch, seq]`. Throws TypeError. */
function position(value: Position): Position {
  const [epoch, seq] = value;
  if (!Number.isInteger(epoch + seq)) throw new TypeError(`${JSON.stringify(value)} is not a position`);
  return value;
}
