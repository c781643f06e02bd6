import type { Kind, Position, ServerFrame, State, Task } from "../src/protocol.ts";

export const ID = "01941f29-7c00-7d3e-8a5b-0242ac120002";
export const CHILD = "01941f29-7c00-7d3e-8a5b-0242ac120003";

export function task(members: Partial<Task> = {}): Task {
  return {
    id: ID,
    type: "demo.count",
    queue: "default",
    priority: "normal",
    state: "running",
    attempt: 1,
    max_attempts: 5,
    epoch: 1,
    labels: {},
    key: null,
    parent_id: null,
    root_id: ID,
    progress: null,
    error: null,
    created_at: "2026-11-25T00:00:00Z",
    due_at: null,
    started_at: null,
    finished_at: null,
    trace_id: null,
    ...members,
  };
}

export function progress(done: number, total: number | null = 100) {
  return { done, total, unit: null, message: null, rate: null, eta: null };
}

export function snap(at: Position, members: Partial<Task> = {}, more: object = {}): ServerFrame & { t: "snap" } {
  return { t: "snap", id: 1, at, task: task({ epoch: at[0], ...members }), ...more };
}

export function ev(at: Position, prev: Position | null, kind: Kind, data: object = {}, id = ID): ServerFrame {
  return { t: "ev", id: 1, task: id, at, prev, kind, data: { ...data } };
}

export function end(at: Position, state: State = "succeeded"): ServerFrame {
  return { t: "end", id: 1, at, task: task({ epoch: at[0], state }) };
}
