import { isOver, type Task } from "./protocol.ts";

/** How far a task and all below it have come. */
export interface Rollup {
  /** 0 … 1. */
  fraction: number;
  /** How many tasks that is, itself included. */
  tasks: number;
  running: number;
  ended: number;
  failed: number;
}

/** Sum up the tree below `root` among `tasks`. Pure. */
export function rollup(tasks: Iterable<Task>, root: string): Rollup {
  const sum = { fraction: 0, tasks: 0, running: 0, ended: 0, failed: 0 };
  const children = new Map<string | null, Task[]>();
  let top: Task | undefined;
  for (const task of tasks) {
    const siblings = children.get(task.parent_id);
    if (task.id === root) top = task;
    else if (siblings) siblings.push(task);
    else children.set(task.parent_id, [task]);
  }
  const fraction = (task: Task): number => {
    sum.tasks++;
    if (task.state === "running") sum.running++;
    if (isOver(task)) sum.ended++;
    if (task.state === "failed") sum.failed++;
    const parts = (children.get(task.id) ?? []).map(fraction);
    const { done, total } = task.progress ?? {};
    if (total) parts.push(Math.min(1, Math.max(0, (done ?? 0) / total)));
    if (isOver(task)) return 1;
    return parts.length && parts.reduce((a, b) => a + b) / parts.length;
  };
  if (top) sum.fraction = fraction(top);
  return sum;
}
