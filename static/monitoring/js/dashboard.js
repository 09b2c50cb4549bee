// The overview: figures as they are measured, charts live or from the history, models and events.
import { get } from "../../llamagpu/js/api.js";
import { bytes, count, duration, percent, rounded } from "../../llamagpu/js/format.js";
import { subscribe } from "../../llamagpu/js/live.js";
import { localizeTimes } from "../../llamagpu/js/page.js";
import { showError } from "../../llamagpu/js/toast.js";
import { translate } from "../../llamagpu/js/words.js";
import { EventList } from "./events.js";
import * as firstSteps from "./first_steps.js";
import * as charts from "./overview_charts.js";

const HOUR = 3600000;
const HEALTH_EVERY = 10000;
const HISTORY_EVERY = 60000;
const SETTLING = 500;

const now = { machine: null, inference: null };
let range = "live";
let reading = null;
let timer = null;

const figure = (name) => document.querySelector(`[data-figure="${name}"]`);
const put = (name, text) => {
  figure(name).textContent = text;
};

function showMachine({ data }) {
  now.machine = data;
  put("cpu_usage", percent(data.cpu_usage));
  put("memory_usage", percent(data.memory_usage));
  const memory = { part: bytes(data.memory_used), whole: bytes(data.memory_total) };
  put("memory_used", translate("{part} of {whole}", memory));
  put("node", data.node);
  put("gpu_usage", percent(data.gpu_usage));
  const isThere = data.gpus.length > 0;
  const share = percent(data.gpu_memory);
  put("gpu_label", isThere ? translate("GPU, {share} of its memory", { share }) : translate("no GPU on this node"));
  figure("gpu_label").title = data.gpu_reason ?? "";
  if (range === "live") charts.explain("gpu", isThere ? "" : translate("No GPU on this node."));
}

function showInference({ data, timestamp }) {
  now.inference = data;
  put("requests_per_second", rounded(data.requests_per_second, 2));
  put("tokens_per_second", rounded(data.tokens_per_second));
  put("ttft", duration(data.ttft.p50));
  put("latency", duration(data.latency.p95));
  put("running", count(data.running));
  put("waiting", count(data.waiting + data.queued));
  if (range === "live") charts.add(now, Date.parse(timestamp));
}

async function chooseRange(value) {
  await drawn;
  range = value;
  clearTimeout(timer);
  reading?.abort();
  if (range === "live") {
    charts.clear();
    return;
  }
  reading = new AbortController();
  try {
    await charts.showHistory(range, reading.signal);
  } catch (error) {
    showError(error);
  }
  if (range === value) timer = setTimeout(() => chooseRange(value), HISTORY_EVERY);
}

// Look and word of each state.
const STATES = {
  absent: ["", translate("absent")],
  available: ["", translate("available")],
  downloading: ["state-busy", translate("downloading")],
  loading: ["state-busy", translate("loading")],
  ready: ["state-good", translate("ready")],
  unloading: ["state-busy", translate("unloading")],
  failed: ["state-bad", translate("failed")],
};

function modelLine(model) {
  const item = document.createElement("li");
  const link = document.createElement("a");
  link.href = `/models/${encodeURIComponent(model.id)}`;
  link.textContent = model.id;
  const state = document.createElement("span");
  const [look, word] = STATES[model.state] ?? ["", model.state];
  state.className = `state ${look}`;
  state.textContent = word;
  const end = document.createElement("span");
  end.className = "end";
  end.textContent = [model.backend, model.memory ? bytes(model.memory) : ""].filter(Boolean).join(", ");
  item.append(link, state, end);
  return item;
}

function wordsLine(words) {
  const item = document.createElement("li");
  item.textContent = words;
  return item;
}

async function showModels() {
  const list = document.getElementById("models");
  try {
    const { models } = await get("/api/models");
    const loaded = models.filter((model) => model.loaded || model.state !== "available");
    const shown = (loaded.length ? loaded : models).slice(0, 8);
    list.replaceChildren(...shown.map(modelLine));
    if (!shown.length) list.replaceChildren(wordsLine(translate("No model is here yet.")));
  } catch (error) {
    list.replaceChildren(wordsLine(error.message));
  }
}

// Draws a part of the page anew where it has changed.
async function renew(id) {
  const element = document.getElementById(id);
  try {
    const response = await fetch(element.dataset.address, { credentials: "same-origin" });
    if (!response.ok || response.redirected) return;
    const html = new DOMParser().parseFromString(await response.text(), "text/html").body;
    localizeTimes(html);
    if (html.textContent.trim() !== element.textContent.trim()) element.replaceChildren(...html.childNodes);
  } catch {
    // The bar of the page says that the server is away.
  }
}

// Once for many events at a time, such as those of the last hour.
function settled(action) {
  let pending = null;
  return () => {
    clearTimeout(pending);
    pending = setTimeout(action, SETTLING);
  };
}

async function watchHealth() {
  await renew("health");
  setTimeout(watchHealth, HEALTH_EVERY);
}

// The socket is opened before the charts are drawn, which takes a while.
subscribe("system_metrics", showMachine);
subscribe("inference_stats", showInference);
const events = new EventList(document.getElementById("events"), document.getElementById("no-events"));
for (const stream of ["model_events", "plugin_events", "alert_events"]) {
  subscribe(stream, (event) => events.add(event), { past: HOUR });
}
const drawn = charts.draw();
firstSteps.begin();
showModels();
setTimeout(watchHealth, HEALTH_EVERY);

subscribe("alert_events", settled(() => renew("alerts")));
subscribe("model_events", settled(showModels));
// A worker that dies may be back before the next look; what is told of the last hour is no news.
const renewHealth = settled(() => renew("health"));
subscribe("model_events", ({ event_type: type, timestamp }) => {
  const isNews = Date.now() - Date.parse(timestamp) < HEALTH_EVERY;
  if (type === "worker_died" && isNews) renew("health");
  else renewHealth();
});
for (const choice of document.querySelectorAll("input[name=range]")) {
  choice.addEventListener("change", () => chooseRange(choice.value));
}
