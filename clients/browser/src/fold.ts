import { isEnd, isLater, isOver, isSame, isStreamed, type Kind, type Position, type Task } from "./protocol.ts";

/** Something was lost on the way: subscribe again. */
export const LOST = "lost";

/**
 * One task as a subscription sees it: the fold of its events over its last snapshot. No clock, no socket.
 *
 * `at` is the largest position seen; what is not beyond it is a copy. `sent` is the position the server sent last to this
 * subscription, which the next event must name as its `prev`; undefined: none. The two differ after a snapshot that is older
 * than what was seen before, such as one from Postgres after Redis lost its memory.
 */
export class Fold {
  task: Task | undefined;
  at: Position | undefined;
  sent: Position | undefined;
  /** When it was last heard of, in ms of the clock that whoever holds it uses; undefined: nobody knows. */
  heardAt: number | undefined;
  /** What the API showed last since the stream said something. */
  #polledBefore: string | undefined;

  /** Take a whole task at a position; return whether it says something new. */
  snapshot(at: Position, task: Task): boolean {
    this.#hear(at);
    const late = !isLater(at, this.at);
    // An old view that says it is over is still the word that it is, unless that is known.
    if (late && (!isOver(task) || !this.task || isOver(this.task))) return false;
    if (!late) this.at = at;
    this.#show(task);
    return true;
  }

  /** Take an event; return whether it says something new, or LOST if one before it is missing. */
  event(at: Position, prev: Position | null, kind: Kind, data: Record<string, unknown>): boolean | typeof LOST {
    const late = !isLater(at, this.at);
    const whole = prev === null && !!data.id;
    // A copy of what was seen says nothing, not even that something is missing.
    if (!whole && (!this.task || !isSame(prev, this.sent))) return !late && LOST;
    this.#hear(at);
    if (late) return false;
    this.at = at;
    if (whole) this.#show(data as unknown as Task);
    else if (isEnd(kind)) this.#show({ ...this.task, epoch: at[0], state: kind, ...data } as Task);
    else if (!isStreamed(kind)) this.#show({ ...this.task, epoch: at[0], ...data } as Task);
    return true;
  }

  /**
   * Take the task as the API shows it while there is no stream; return whether anything changed.
   *
   * The API may be some seconds behind the stream within an epoch. So what it shows first after the stream said something,
   * in the epoch the stream had reached, is only what later answers are compared with.
   */
  polled(task: Task): boolean {
    const before = this.#polledBefore;
    const now = JSON.stringify(task);
    this.#polledBefore = now;
    const epoch = task.epoch;
    const known = this.task;
    if (!this.at || !known || epoch > this.at[0]) this.at = [epoch, 0];
    else if (epoch < this.at[0] || isOver(known) || now === before) return false;
    else if (before === undefined && task.state === known.state) return false;
    this.#show(task);
    return true;
  }

  /** Begin a new subscription; return where it goes on (undefined: from a snapshot). */
  resume(): Position | undefined {
    this.sent = this.at;
    return this.at;
  }

  #hear(at: Position): void {
    this.sent = at;
    this.#polledBefore = undefined;
  }

  #show(task: Task): void {
    const links = task.links ?? this.task?.links;
    this.task = links ? { ...task, links } : task;
  }
}
