// Shows one task by callbacks, as a page does, and keeps what it was told for the test to look at.
import { Milepost } from "./milepost.js";

const show = (id, text) => {
  document.getElementById(id).textContent = text;
};

window.told = [];
window.vias = [];
window.lagged = false;

window.asked = 0;

// Watches more tasks with the same client.
window.more = (ids) => {
  window.many = ids.map((id) => window.client.watch(id, { onEvent() {} }));
};

// `tokens`: one after the other, the last for ever, as somebody's backend would give them; `token`: one for good.
window.watch = async (id, token, { tree = false, tail = 0, tokens, ...options } = {}) => {
  const addresses = await (await fetch("addresses.json")).json();
  window.client = new Milepost({
    ...addresses,
    ...options,
    token: tokens ? () => tokens[Math.min(window.asked++, tokens.length - 1)] : token,
    onStatus({ via, lag }) {
      if (window.vias.at(-1) !== via) window.vias.push(via);
      window.lagged ||= lag;
      show("via", via ?? "nothing");
    },
  });
  window.one = window.client.watch(id, {
    tree,
    tail,
    onEvent({ kind, at, task, data, last }) {
      window.told.push({ kind, at, id: task.id, done: task.progress?.done, chunk: data.chunk, last });
    },
    onProgress({ fraction }, { task }) {
      document.getElementById("bar").value = fraction;
      if (task.id === id) show("state", task.state);
    },
    onError({ code, message }) {
      show("error", `${code}: ${message}`);
    },
  });
};
