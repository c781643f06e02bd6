// What a page does with the client: bars, trees, lines of log. A page for others would get a watch token from its backend
// instead of a key, and would not submit.
import { Milepost, rollup } from "./milepost.js";

const SHOWN = 8;
const QUIET_S = 5;
const $ = (id) => document.getElementById(id);
const make = (id) => $(id).content.firstElementChild.cloneNode(true);
const over = (task) => ["succeeded", "failed", "cancelled"].includes(task.state);

/** What the buttons start: a task, and tasks below it. `name` is only for people. */
const STARTS = {
  count: { name: "Count to 100", type: "demo.count", payload: { to: 100, delay: 0.1 } },
  fail: { name: "Fails twice", type: "demo.fail", payload: { times: 2 } },
  write: { name: "Write", type: "demo.write", payload: {} },
  tree: {
    name: "Release",
    type: "demo.count",
    payload: { to: 60, delay: 0.25 },
    children: [
      {
        name: "Build",
        type: "demo.count",
        payload: { to: 90, delay: 0.12 },
        children: [
          { name: "Unit tests", type: "demo.count", payload: { to: 120, delay: 0.06 } },
          { name: "Browser tests", type: "demo.count", payload: { to: 40, delay: 0.22 } },
        ],
      },
      { name: "Package", type: "demo.count", payload: { to: 25, delay: 0.3 } },
      { name: "Upload, flaky", type: "demo.fail", payload: { times: 1 } },
    ],
  },
};

const cards = new Map();
let client;
let key;

/** Call the API. Throws an Error with what it says. */
async function call(path, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json", "Idempotency-Key": crypto.randomUUID() },
    body: JSON.stringify(body ?? {}),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.detail ?? answer.title);
  return answer;
}

async function start({ name, children = [], ...body }, parent_id) {
  const task = await call("/v1/tasks", { ...body, labels: { name }, ...(parent_id && { parent_id }) });
  if (!parent_id) show(task);
  await Promise.all(children.map((child) => start(child, task.id)));
}

/** Put up a card for a task, and follow it and all below it. */
function show(task) {
  if (cards.has(task.id)) return;
  const element = make("card");
  const card = { element, rows: new Map(), text: "", watch: undefined, drawn: false };
  cards.set(task.id, card);
  $("tasks").prepend(element);
  follow(task, card);
  for (const [id, old] of cards) {
    if (cards.size <= SHOWN) break;
    old.watch.close();
    old.element.remove();
    cards.delete(id);
  }
  $("nothing").hidden = true;
}

function follow(task, card) {
  card.watch = client.watch(task, {
    tree: true,
    tail: 50,
    onEvent(event) {
      // A line of log stands alone; a chunk of output goes on where the one before it ended.
      if (event.kind === "log") card.text += `${card.text && !card.text.endsWith("\n") ? "\n" : ""}${event.data.message}\n`;
      if (event.kind === "output") card.text += event.data.chunk;
      card.text = card.text.slice(-20_000);
      draw(task, card);
    },
    onError(error) {
      card.element.querySelector(".facts").textContent = error.message;
    },
  });
  draw(task, card);
}

/** Draw a card before the next frame, however much has come by then. */
function draw(first, card) {
  if (card.drawn) return;
  card.drawn = true;
  const now = () => {
    card.drawn = false;
    drawCard(card.watch.task ?? first, card);
  };
  if (document.hidden) setTimeout(now, 250);
  else requestAnimationFrame(now);
}

function drawCard(task, { element, rows, text, watch }) {
  const tasks = watch.tasks;
  const sum = rollup(tasks, task.id);
  const quiet = watch.noNewsSince();
  fill(element, task, sum.fraction, tasks.length < 2);
  element.querySelector("h2").textContent = nameOf(task);
  element.querySelector(".state").textContent = task.state;
  element.querySelector(".facts").textContent = [
    sum.tasks > 1 && `${sum.tasks} tasks: ${sum.running} running, ${sum.ended} ended${sum.failed ? `, ${sum.failed} failed` : ""}`,
    factsOf(task),
    !over(task) && quiet > QUIET_S && `no news for ${Math.round(quiet)} s`,
  ]
    .filter(Boolean)
    .join(" · ");
  const act = element.querySelector(".act");
  act.textContent = over(task) ? "Run again" : "Cancel";
  act.hidden = task.state === "succeeded";
  act.onclick = async () => {
    try {
      const answer = await call(`/v1/tasks/${task.id}/${over(task) ? "retry" : "cancel"}`);
      if (over(task)) follow(answer, cards.get(task.id));
    } catch (error) {
      alert(error.message);
    }
  };
  const list = element.querySelector(".tree");
  const children = Map.groupBy(tasks, (one) => one.parent_id);
  for (const [place, [child, depth]] of inOrder(children, task.id).entries()) {
    let row = rows.get(child.id);
    if (!row) rows.set(child.id, (row = make("row")));
    if (list.children[place] !== row) list.insertBefore(row, list.children[place] ?? null);
    const parent = children.has(child.id);
    fill(row, child, rollup(parent ? tasks : [child], child.id).fraction, !parent);
    row.querySelector(".name").textContent = nameOf(child);
    row.style.setProperty("--depth", depth);
    row.querySelector(".facts").textContent = factsOf(child);
  }
  const output = element.querySelector(".output");
  output.hidden = !text;
  if (output.textContent !== text) {
    output.textContent = text;
    output.scrollTop = output.scrollHeight;
  }
}

function fill(element, task, fraction, alone) {
  element.dataset.state = task.state;
  element.toggleAttribute("data-unknown", alone && task.state === "running" && !task.progress?.total);
  const bar = element.querySelector(".bar");
  bar.style.setProperty("--fraction", fraction);
  bar.ariaValueNow = Math.round(fraction * 100);
}

/** Return the descendants of a task with their depth, each below its parent, oldest first. */
function inOrder(children, parent, depth = 0) {
  return (children.get(parent) ?? [])
    .sort((a, b) => (a.id < b.id ? -1 : 1))
    .flatMap((task) => [[task, depth], ...inOrder(children, task.id, depth + 1)]);
}

function nameOf(task) {
  return task.labels.name ?? task.type;
}

function factsOf(task) {
  const { done, total, unit, eta, message } = task.progress ?? {};
  if (task.state === "failed") return task.error?.message ?? "failed";
  if (over(task)) return task.started_at ? `took ${spent(task)}` : task.state;
  if (task.state !== "running") return task.attempt > 0 ? `${task.state}, attempt ${task.attempt} of ${task.max_attempts}` : task.state;
  if (done === undefined) return "running";
  const amount = total ? `${done} of ${total} ${unit ?? ""}` : `${done} ${unit ?? ""}`;
  return [amount.trim(), eta > 0 && `${Math.ceil(eta)} s left`, !total && message].filter(Boolean).join(" · ");
}

/** Return how long its last attempt ran. */
function spent({ started_at, finished_at }) {
  const seconds = (Date.parse(finished_at) - Date.parse(started_at)) / 1000;
  return seconds < 60 ? `${seconds.toFixed(1)} s` : `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

function showStatus({ via, lag, trouble }) {
  const words = { stream: "live", events: "live, by server-sent events", polling: "asking now and then" };
  $("status").textContent = `${words[via] ?? "nobody answers; still trying"}${lag ? ", too much for this line" : ""}`;
  $("status").dataset.via = via ?? "";
  $("status").title = trouble ?? "";
}

/** Tasks that run already, and those that others start. */
async function discover() {
  for await (const change of client.feed()) {
    if (change.kind === "live") {
      const { items } = await client.list({ limit: "50" });
      for (const task of items.reverse()) if (!task.parent_id && !over(task)) show(task);
    } else if (["queued", "scheduled"].includes(change.kind) && change.data.id && !change.data.parent_id) show(change.data);
  }
}

function askForKey(why) {
  sessionStorage.removeItem("milepost-key");
  $("status").textContent = why;
  $("key").hidden = false;
  $("start").hidden = $("nothing").hidden = true;
  $("key").onsubmit = (event) => {
    event.preventDefault();
    sessionStorage.setItem("milepost-key", $("key").querySelector("input").value.trim());
    location.reload();
  };
}

async function main() {
  // The key comes behind the #, which never leaves the browser, and does not stay in the address.
  key = new URLSearchParams(location.hash.slice(1)).get("key") ?? sessionStorage.getItem("milepost-key");
  history.replaceState(null, "", location.pathname);
  if (!key) return askForKey("no key yet");
  sessionStorage.setItem("milepost-key", key);
  const { stream, events } = await (await fetch("addresses.json")).json();
  client = new Milepost({ stream, events, token: key, onStatus: showStatus });
  for (const button of document.querySelectorAll("[data-start]"))
    button.onclick = () => start(STARTS[button.dataset.start]).catch((error) => alert(error.message));
  setInterval(() => {
    for (const card of cards.values()) if (card.watch.task) draw(card.watch.task, card);
  }, 1000);
  await discover();
}

main().catch((error) => askForKey(error.message));
