// Line charts over time in the colours of the theme. Chart.js is loaded as a plain script before.
/* global Chart */

import { dayAndTime, rounded, shortTime } from "./format.js";

const drawn = new Set();

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const seriesColour = (index) => colour(`--series-${(index % 6) + 1}`);
const DAY = 86400000;

function paint(chart) {
  const text = colour("--bs-secondary-color");
  const line = colour("--line");
  for (const scale of Object.values(chart.options.scales)) {
    scale.ticks.color = text;
    scale.grid.color = line;
  }
  chart.options.plugins.legend.labels.color = text;
  chart.data.datasets.forEach((set, index) => {
    set.borderColor = set.backgroundColor = seriesColour(index);
  });
  chart.update("none");
}

// `series` are labels; `format` shows a value; `max` fixes the top (100 for percent).
export function lineChart(canvas, series, { format = rounded, max, stacked = false } = {}) {
  // Chart.js calls it with the axis as `this`, also before there is a chart.
  function tick(value) {
    return this.max - this.min > DAY ? dayAndTime(value) : shortTime(value);
  }
  const chart = new Chart(canvas, {
    type: "line",
    data: {
      datasets: series.map((label) => ({
        label, data: [], borderWidth: 2, pointRadius: 0, pointHitRadius: 8, tension: 0.25, spanGaps: false, fill: stacked,
      })),
    },
    options: {
      animation: false,
      maintainAspectRatio: false,
      parsing: false,
      normalized: true,
      interaction: { mode: "index", intersect: false },
      scales: {
        x: { type: "linear", grid: { display: false }, ticks: { maxTicksLimit: 6, maxRotation: 0, callback: tick } },
        y: { beginAtZero: true, suggestedMax: max, stacked, grid: {}, ticks: { maxTicksLimit: 5, callback: (value) => format(value) } },
      },
      plugins: {
        legend: { display: series.length > 1, position: "bottom", labels: { boxWidth: 12, boxHeight: 2 } },
        tooltip: {
          callbacks: {
            title: (items) => (items.length ? dayAndTime(items[0].parsed.x) : ""),
            label: (item) => `${item.dataset.label}: ${format(item.parsed.y)}`,
          },
        },
      },
    },
  });
  drawn.add(chart);
  paint(chart);
  return chart;
}

// Appends one point a series (null: a gap) and drops what is older than `span` seconds.
export function push(chart, time, values, span = 300) {
  const oldest = time - span * 1000;
  chart.data.datasets.forEach((set, index) => {
    set.data.push({ x: time, y: values[index] ?? null });
    while (set.data.length && set.data[0].x < oldest) set.data.shift();
  });
  chart.options.scales.x.min = oldest;
  chart.options.scales.x.max = time;
  // Several charts get a point at once: each is drawn in a task of its own.
  if (!document.hidden) setTimeout(() => chart.update("none"));
}

// `rows` are [time in ms, value of the first series, …].
export function show(chart, rows) {
  chart.data.datasets.forEach((set, index) => {
    set.data = rows.map((row) => ({ x: row[0], y: row[index + 1] ?? null }));
  });
  chart.options.scales.x.min = rows.at(0)?.[0];
  chart.options.scales.x.max = rows.at(-1)?.[0];
  chart.update("none");
}

new MutationObserver(() => drawn.forEach(paint)).observe(document.documentElement, {
  attributes: true,
  attributeFilter: ["data-bs-theme"],
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) drawn.forEach((chart) => chart.update("none"));
});
