import { enqueue, enqueueChange, type FeedEvent, type WatchEvent } from "./events.ts";
import type { Callbacks, Feed, Options, Status, Watch, WatchOptions } from "./interface.ts";
import { Line } from "./line.ts";
import { call, now } from "./page.ts";
import { type Filter, isStreamed, type Refused, type Task } from "./protocol.ts";
import { Reader } from "./reader.ts";
import { rollup } from "./rollup.ts";
import { Feeding, type Subscription, Watching } from "./subscription.ts";

/**
 * Watch tasks. All watches share one WebSocket, or a few if they are more than one carries; without it they go on by SSE, and
 * by asking the API.
 */
export class Milepost {
  readonly #options: Options;
  readonly #lines: Line[] = [];
  readonly #readers = new Set<{ end(): void }>();
  #closed = false;

  constructor(options: Options) {
    this.#options = { ...options, onStatus: () => call(options.onStatus, this.status) };
    this.#extend();
  }

  /** How news comes now; of several lines, over the worst. */
  get status(): Status {
    const of = (word: keyof Status) => this.#lines.find(({ status }) => status[word]);
    return (of("trouble") ?? of("lag") ?? of("via") ?? this.#first).status;
  }

  /** Watch a task, by its id or as the API gave it, to its end. */
  watch(task: string | Pick<Task, "id" | "epoch">, options: WatchOptions = {}): Watch {
    const { onEvent, onProgress, onEnd, onError, tree = false, tail = 0 } = options;
    const { id, epoch } = typeof task === "string" ? { id: task, epoch: 0 } : task;
    let resolve: (task: Task) => void;
    let reject: (error: unknown) => void;
    const finished = new Promise<Task>((yes, no) => {
      resolve = yes;
      reject = no;
    });
    finished.catch(() => {}); // whoever wants to know of it asks
    const tell = (event: WatchEvent) => {
      if (reader.over) return;
      if (!onEvent && !onProgress && !onEnd) reader.put(event);
      call(onEvent, event);
      if (onProgress && !isStreamed(event.kind)) call(onProgress, watch.progress, event);
      if (event.last) {
        resolve(event.task);
        reader.end();
        call(onEnd, event.task);
      }
    };
    const watching = new Watching(id, tree, tail, epoch, tell, (error) => reader.end(error));
    const reader = this.#reader(enqueue, watching, options, (error) => {
      reject(error ?? new DOMException("The watch was closed.", "AbortError"));
      if (error) call(onError, error);
    });
    const { folds } = watching;
    const watch: Watch = {
      finished,
      get task() {
        return folds.get(id)?.task;
      },
      get tasks() {
        return [...folds.values()].flatMap((fold) => fold.task ?? []);
      },
      get progress() {
        return rollup(watch.tasks, id);
      },
      noNewsSince(of = id) {
        const at = folds.get(of)?.heardAt;
        return at === undefined ? at : Math.max(0, (now() - at) / 1000);
      },
      close: () => reader.end(),
      [Symbol.asyncIterator]: () => reader,
    };
    this.#begin(watching, reader);
    return watch;
  }

  /** Be told of every change of the tenant's tasks that match. */
  feed(filter?: Filter, options: Callbacks<FeedEvent> = {}): Feed {
    const { onEvent, onError } = options;
    const tell = (event: FeedEvent) => reader.over || (onEvent ? call(onEvent, event) : reader.put(event));
    const feeding = new Feeding(filter, tell, (error) => reader.end(error));
    const reader = this.#reader(enqueueChange, feeding, options, (error) => error && call(onError, error));
    this.#begin(feeding, reader);
    return { close: () => reader.end(), [Symbol.asyncIterator]: () => reader };
  }

  /** Read a task from the API. Throws Refused, or what `fetch` throws. */
  get(id: string): Promise<Task> {
    return this.#first.read(`/v1/tasks/${encodeURIComponent(id)}`);
  }

  /** Read a page of tasks from the API, newest first. Throws as `get`. */
  list(query: Record<string, string> = {}): Promise<{ items: Task[]; next: string | null }> {
    return this.#first.read(`/v1/tasks?${new URLSearchParams(query)}`);
  }

  /** End everything. Tasks go on. */
  close(): void {
    this.#closed = true;
    for (const reader of this.#readers) reader.end();
    for (const line of this.#lines) line.close();
  }

  get #first(): Line {
    return this.#lines[0] as Line;
  }

  #extend(): Line {
    // Browsers open six connections to a host, and the first line takes four of them for SSE.
    const options = this.#lines.length ? { ...this.#options, events: null } : this.#options;
    const line = new Line(options, (subscription) => this.#add(subscription));
    this.#lines.push(line);
    return line;
  }

  /** To the first line that has room. One that carries nothing any more closes by itself, and is taken again. */
  #add(subscription: Subscription): void {
    (this.#lines.find((line) => line.hasRoom()) ?? this.#extend()).add(subscription);
  }

  #reader<E>(
    enqueue: (waiting: E[], event: E) => void,
    subscription: Subscription,
    { signal }: Callbacks<E>,
    ended: (error?: Refused) => void,
  ): Reader<E> {
    const close = () => reader.end();
    const reader = new Reader<E>(enqueue, (error) => {
      signal?.removeEventListener("abort", close);
      this.#readers.delete(reader);
      for (const line of this.#lines) line.remove(subscription);
      ended(error);
    });
    signal?.addEventListener("abort", close);
    if (signal?.aborted || this.#closed) close();
    return reader;
  }

  /** Once whoever watches has all that it is told with. */
  #begin<E>(subscription: Subscription, reader: Reader<E>): void {
    if (reader.over) return;
    this.#readers.add(reader);
    this.#add(subscription);
  }
}
