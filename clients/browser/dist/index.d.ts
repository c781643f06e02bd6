export { Milepost } from "./client.js";
export type { FeedEvent, WatchEvent } from "./events.js";
export type { Callbacks, Feed, Options, Status, Token, Watch, WatchOptions } from "./interface.js";
export type { Change, Filter, Kind, Position, Progress, State, Task } from "./protocol.js";
export { CLOSE_CODES, Refused } from "./protocol.js";
export { type Rollup, rollup } from "./rollup.js";
