// The page of monitoring: tables that follow, charts of any series, benchmarks.
import { get } from "../../llamagpu/js/api.js";
import { lineChart, show } from "../../llamagpu/js/charts.js";
import { bytes, duration, percent, rounded } from "../../llamagpu/js/format.js";
import { showError } from "../../llamagpu/js/toast.js";
import { translate } from "../../llamagpu/js/words.js";
import { showBenchmarks } from "./benchmarks.js";

const now = document.getElementById("now");
const root = document.getElementById("charts");
const NOW_EVERY = 5000;
const HISTORY_EVERY = 60000;
const FORMATS = { percent, bytes, seconds: duration, "bytes/s": (value) => `${bytes(value)}/s` };

// The charts that are there at first; others are called as the API calls their series.
const TITLES = {
  cpu_usage: translate("Processor"),
  memory_usage: translate("Memory"),
  generation_tokens_per_second: translate("New tokens/s"),
  latency_p95: translate("Whole requests, p95"),
  kv_cache_usage: translate("Key-value cache"),
  engine_rss: translate("Memory of the engines"),
};

const charts = new Map();
let range = "1h";
let timer = null;

async function refreshNow() {
  if (!document.hidden) {
    try {
      const response = await fetch(now.dataset.address, { credentials: "same-origin" });
      if (response.ok && !response.redirected) {
        now.replaceChildren(...new DOMParser().parseFromString(await response.text(), "text/html").body.children);
      }
    } catch {
      // Away for a moment: what was read last stays.
    }
  }
  setTimeout(refreshNow, NOW_EVERY);
}

function addChart(name) {
  if (charts.has(name)) return;
  const panel = document.createElement("div");
  panel.className = "panel";
  const head = document.createElement("div");
  head.className = "d-flex justify-content-between";
  const title = document.createElement("h3");
  title.className = "panel-title";
  title.textContent = TITLES[name] ?? name.replaceAll("_", " ");
  const close = document.createElement("button");
  close.type = "button";
  close.className = "btn-close";
  close.setAttribute("aria-label", translate("Remove the chart of {name}", { name: title.textContent }));
  head.append(title, close);
  const frame = document.createElement("div");
  frame.className = "chart";
  const canvas = document.createElement("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", title.textContent);
  frame.append(canvas);
  const empty = document.createElement("p");
  empty.className = "small text-body-secondary mb-0";
  panel.append(head, frame, empty);
  root.append(panel);
  charts.set(name, { panel, canvas, empty, chart: null, labels: "" });
  close.addEventListener("click", () => {
    charts.get(name).chart?.destroy();
    charts.delete(name);
    panel.remove();
  });
}

// A line for each node; the chart is made anew when nodes come or go.
function draw(name, columns, start, step) {
  const entry = charts.get(name);
  const labels = columns.map((column) => column.node ?? name);
  if (entry.labels !== labels.join()) {
    entry.chart?.destroy();
    const format = FORMATS[columns[0]?.unit] ?? rounded;
    entry.chart = lineChart(entry.canvas, labels, { format, max: columns[0]?.unit === "percent" ? 100 : undefined });
    entry.labels = labels.join();
  }
  const length = Math.max(0, ...columns.map((column) => column.values.length));
  if (entry.chart) {
    show(entry.chart, Array.from({ length }, (_, index) => [
      start + index * step * 1000, ...columns.map((column) => column.values[index]),
    ]));
  }
  const isEmpty = columns.every((column) => column.values.every((value) => value === null));
  entry.empty.textContent = isEmpty ? translate("Nothing was measured in this time.") : "";
}

async function refreshHistory() {
  clearTimeout(timer);
  if (charts.size && !document.hidden) {
    try {
      const history = await get(`/api/system/metrics?timeframe=${range}&series=${[...charts.keys()].join(",")}`);
      for (const name of charts.keys()) {
        draw(name, history.series.filter((one) => one.name === name), Date.parse(history.start), history.step);
      }
    } catch (error) {
      showError(error);
    }
  }
  timer = setTimeout(refreshHistory, HISTORY_EVERY);
}

for (const name of JSON.parse(document.getElementById("first-series").textContent)) addChart(name);
document.getElementById("series").addEventListener("change", (event) => {
  if (event.target.value) addChart(event.target.value);
  event.target.value = "";
  refreshHistory();
});
for (const choice of document.querySelectorAll("input[name=range]")) {
  choice.addEventListener("change", () => {
    range = choice.value;
    refreshHistory();
  });
}
refreshHistory();
showBenchmarks(document.getElementById("benchmarks")).catch(showError);
setTimeout(refreshNow, NOW_EVERY);
