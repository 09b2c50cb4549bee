// The live streams of /ws/stream/: one socket a page, opened with the first subscription. It comes back
// by itself and asks for what it has missed; while it is away the bar of the page says so.
import { translate } from "./words.js";

const FIRST_WAIT = 1000;
const LONGEST_WAIT = 15000;
// Codes by which the server says that trying again is of no use until the page is loaded anew.
const FINAL = new Map([
  [4401, translate("Your session has ended: sign in again")],
  [4403, translate("Your role no longer shows live data")],
]);

const handlers = new Map();
const places = new Map();
const watchers = new Set();
let socket = null;
let attempts = 0;
let timer = null;

function tell(state, text = "") {
  const element = document.getElementById("live-state");
  if (element) {
    element.hidden = state === "connected";
    element.textContent = text;
  }
  document.documentElement.dataset.live = state;
  for (const watcher of watchers) watcher(state, text);
}

function send(action, stream) {
  if (socket?.readyState !== WebSocket.OPEN) return;
  const message = { action, streams: [stream] };
  if (action === "subscribe") {
    message.ids = true;
    if (places.has(stream)) message.since = places.get(stream);
  }
  socket.send(JSON.stringify(message));
}

function receive({ data }) {
  const event = JSON.parse(data);
  if (!event.stream) return;
  places.set(event.stream, event.id);
  for (const listener of handlers.get(event.stream) ?? []) listener(event);
}

function retry(code) {
  socket = null;
  if (!handlers.size) return;
  if (FINAL.has(code)) {
    tell("ended", FINAL.get(code));
    return;
  }
  tell("disconnected", translate("Disconnected, retrying"));
  const wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** attempts) * (0.75 + Math.random() / 2);
  attempts += 1;
  timer = setTimeout(connect, wait);
}

function connect() {
  clearTimeout(timer);
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}/ws/stream/`);
  socket.addEventListener("open", () => {
    attempts = 0;
    for (const stream of handlers.keys()) send("subscribe", stream);
    tell("connected");
  });
  socket.addEventListener("message", receive);
  socket.addEventListener("close", ({ code }) => retry(code));
}

// `listener` gets each event {timestamp, event_type, data, stream} of the stream; with `past` also those
// of the last so many milliseconds. Returns what ends it.
export function subscribe(stream, listener, { past = 0 } = {}) {
  const isNew = !handlers.has(stream);
  if (isNew) handlers.set(stream, new Set());
  handlers.get(stream).add(listener);
  if (past && !places.has(stream)) places.set(stream, `${Date.now() - past}-0`);
  if (!socket) connect();
  else if (isNew) send("subscribe", stream);
  return () => {
    const listeners = handlers.get(stream);
    listeners?.delete(listener);
    if (listeners && !listeners.size) {
      handlers.delete(stream);
      send("unsubscribe", stream);
    }
  };
}

// `watcher` gets "connected", "disconnected" or "ended", and words for it.
export function watchState(watcher) {
  watchers.add(watcher);
  return () => watchers.delete(watcher);
}

// A phone that wakes up, a network that is back: no need to wait for the timer.
addEventListener("online", () => {
  if (!socket && handlers.size) connect();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !socket && handlers.size) connect();
});
