// The live streams of /ws/stream/: one socket a page, opened with the first subscription. It comes back
// by itself; while it is away the bar of the page says so.

const FIRST_WAIT = 1000;
const LONGEST_WAIT = 15000;
// Codes by which the server says that trying again is of no use until the page is loaded anew.
const FINAL = new Map([
  [4401, "Your session has ended: sign in again"],
  [4403, "Your role no longer shows live data"],
]);

const handlers = new Map();
const watchers = new Set();
let socket = null;
let attempts = 0;
let timer = null;

const indicator = () => document.getElementById("live-state");

function tell(state, text = "") {
  const element = indicator();
  if (element) {
    element.hidden = state === "connected";
    element.textContent = text;
  }
  document.documentElement.dataset.live = state;
  for (const watcher of watchers) watcher(state, text);
}

function send(action, streams) {
  if (socket?.readyState === WebSocket.OPEN && streams.length) {
    socket.send(JSON.stringify({ action, streams }));
  }
}

function receive({ data }) {
  const event = JSON.parse(data);
  for (const [stream, listeners] of handlers) {
    if (event.stream === stream || event.event_type === stream) {
      for (const listener of listeners) listener(event);
    }
  }
}

function retry(code) {
  socket = null;
  if (!handlers.size) return;
  if (FINAL.has(code)) {
    tell("ended", FINAL.get(code));
    return;
  }
  tell("disconnected", "Disconnected, retrying");
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
    send("subscribe", [...handlers.keys()]);
    tell("connected");
  });
  socket.addEventListener("message", receive);
  socket.addEventListener("close", ({ code }) => retry(code));
}

// `listener` gets each event {timestamp, event_type, data} of the stream. Returns what ends it.
export function subscribe(stream, listener) {
  const isNew = !handlers.has(stream);
  if (isNew) handlers.set(stream, new Set());
  handlers.get(stream).add(listener);
  if (!socket) connect();
  else if (isNew) send("subscribe", [stream]);
  return () => {
    const listeners = handlers.get(stream);
    listeners?.delete(listener);
    if (listeners && !listeners.size) {
      handlers.delete(stream);
      send("unsubscribe", [stream]);
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
