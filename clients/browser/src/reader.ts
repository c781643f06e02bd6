import type { Refused } from "./protocol.ts";

/** What came and was not taken yet. One reader; an iteration that is left ends it. */
export class Reader<E> implements AsyncIterableIterator<E> {
  over = false;
  readonly #waiting: E[] = [];
  readonly #enqueue: (waiting: E[], event: E) => void;
  readonly #ended: (error?: Refused) => void;
  #wake: (() => void) | undefined;
  #error: Refused | undefined;

  /** `ended` is called once. */
  constructor(enqueue: (waiting: E[], event: E) => void, ended: (error?: Refused) => void) {
    this.#enqueue = enqueue;
    this.#ended = ended;
  }

  put(event: E): void {
    this.#enqueue(this.#waiting, event);
    this.#wake?.();
  }

  /** Let the iteration end, with an error if there is one, once it has taken what is waiting. */
  end(error?: Refused): void {
    if (this.over) return;
    this.over = true;
    this.#error = error;
    this.#wake?.();
    this.#ended(error);
  }

  async next(): Promise<IteratorResult<E, undefined>> {
    while (!this.#waiting.length) {
      if (this.#error) throw this.#error;
      if (this.over) return { value: undefined, done: true };
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return { value: this.#waiting.shift() as E, done: false };
  }

  async return(): Promise<IteratorResult<E, undefined>> {
    this.end();
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
