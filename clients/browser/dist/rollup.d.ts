import { type Task } from "./protocol.js";
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
export declare function rollup(tasks: Iterable<Task>, root: string): Rollup;
