// The charts of the overview: what each draws, live and from the history.
import { get } from "../../llamagpu/js/api.js";
import { lineChart, push, show } from "../../llamagpu/js/charts.js";
import { duration, percent, rounded } from "../../llamagpu/js/format.js";
import { translate } from "../../llamagpu/js/words.js";

const spread = (name) => [
  { label: "p50", history: `${name}_p50`, live: (now) => now.inference?.[name].p50 },
  { label: "p95", history: `${name}_p95`, live: (now) => now.inference?.[name].p95 },
  { label: "p99", history: `${name}_p99`, live: (now) => now.inference?.[name].p99 },
];

const CHARTS = {
  machine: {
    format: percent, max: 100,
    lines: [
      { label: translate("Processor"), history: "cpu_usage", live: (now) => now.machine?.cpu_usage },
      { label: translate("Memory"), history: "memory_usage", live: (now) => now.machine?.memory_usage },
    ],
  },
  gpu: {
    format: percent, max: 100,
    lines: [
      { label: translate("Computing"), history: "gpu_usage", live: (now) => now.machine?.gpu_usage },
      { label: translate("Memory"), history: "gpu_memory", live: (now) => now.machine?.gpu_memory },
    ],
  },
  traffic: {
    format: rounded,
    lines: [
      { label: translate("Requests/s"), history: "requests_per_second", live: (now) => now.inference?.requests_per_second },
      { label: translate("New tokens/s"), history: "generation_tokens_per_second", live: (now) => now.inference?.tokens_per_second },
    ],
  },
  ttft: { format: duration, lines: spread("ttft") },
  latency: { format: duration, lines: spread("latency") },
  queue: {
    format: rounded,
    lines: [
      { label: translate("Running"), history: "running", live: (now) => now.inference?.running },
      { label: translate("Waiting"), history: "waiting", live: (now) => now.inference?.waiting },
    ],
  },
};

const charts = new Map();
const nextTask = () => new Promise((resolve) => setTimeout(resolve));
const LIVE_SPAN = 300;

// Each in a task of its own: figures that come meanwhile need not wait for all of them.
export async function draw() {
  for (const canvas of document.querySelectorAll("canvas[data-chart]")) {
    const { lines, format, max } = CHARTS[canvas.dataset.chart];
    charts.set(canvas.dataset.chart, lineChart(canvas, lines.map((line) => line.label), { format, max }));
    await nextTask();
  }
}

// Says over an empty chart why it is one.
export function explain(name, text) {
  const element = document.querySelector(`[data-empty="${name}"]`);
  element.textContent = text;
  element.hidden = !text;
}

export function clear() {
  for (const [name, chart] of charts) {
    chart.data.datasets.forEach((set) => (set.data = []));
    chart.update("none");
    explain(name, "");
  }
}

// One point of all charts from the newest reading of each stream.
export function add(now, time) {
  for (const [name, chart] of charts) {
    push(chart, time, CHARTS[name].lines.map((line) => line.live(now) ?? null), LIVE_SPAN);
  }
}

// Of several machines the mean; a moment of which nobody knows anything stays a gap.
function merged(series, name, length) {
  const columns = series.filter((one) => one.name === name);
  return Array.from({ length }, (_, index) => {
    const told = columns.map((column) => column.values[index]).filter((value) => value !== null && value !== undefined);
    return told.length ? told.reduce((sum, value) => sum + value, 0) / told.length : null;
  });
}

export async function showHistory(range, signal) {
  const names = [...new Set(Object.values(CHARTS).flatMap(({ lines }) => lines.map((line) => line.history)))];
  const history = await get(`/api/system/metrics?timeframe=${range}&series=${names.join(",")}`, { signal });
  const start = Date.parse(history.start);
  const length = Math.max(0, ...history.series.map((one) => one.values.length));
  for (const [name, chart] of charts) {
    const columns = CHARTS[name].lines.map((line) => merged(history.series, line.history, length));
    const rows = Array.from({ length }, (_, index) => [
      start + index * history.step * 1000, ...columns.map((column) => column[index]),
    ]);
    show(chart, rows);
    const isEmpty = columns.every((column) => column.every((value) => value === null));
    explain(name, isEmpty ? translate("Nothing was measured in this time.") : "");
  }
}
