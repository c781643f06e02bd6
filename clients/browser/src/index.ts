export { Milepost } from "./client.ts";
export type { FeedEvent, WatchEvent } from "./events.ts";
export type { Callbacks, Feed, Options, Status, Token, Watch, WatchOptions } from "./interface.ts";
export type { Change, Filter, Kind, Position, Progress, State, Task } from "./protocol.ts";
export { CLOSE_CODES, Refused } from "./protocol.ts";
export { type Rollup, rollup } from "./rollup.ts";
