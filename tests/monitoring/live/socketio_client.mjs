// The official client of Socket.IO as a driver: says in JSON lines what it is told.
// node socketio_client.mjs URL KEY STREAM...; it ends when an event says so.

import { io } from "socket.io-client";

const [url, key, ...streams] = process.argv.slice(2);
const say = (name, data) => process.stdout.write(JSON.stringify([name, data]) + "\n");

const socket = io(url, { transports: ["websocket"], auth: key ? { key } : {}, reconnection: false });
socket.on("connect_error", (error) => {
  say("refused", error.data ?? error.message);
  process.exit(0);
});
socket.on("disconnect", (reason) => {
  say("disconnect", reason);
  process.exit(0);
});
socket.onAny((name, data) => {
  say(name, data);
  if (data?.event_type === "done") socket.disconnect();
});
socket.on("connect", async () => {
  say("subscribed", await socket.emitWithAck("subscribe", { streams }));
  say("monitored", await socket.emitWithAck("monitor_request"));
});
