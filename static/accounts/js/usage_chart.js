// Draws the tokens of each day, in the colours of the page's theme. The table below holds the numbers.
import { translate } from "../../llamagpu/js/words.js";

const canvas = document.getElementById("usage-chart");
const source = document.getElementById("usage-series");

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const dataset = (label, data, background) => ({
  label,
  data,
  backgroundColor: background,
  borderWidth: 0,
  maxBarThickness: 28,
});

const optionsOf = () => {
  const text = colour("--bs-secondary-color");
  const lines = colour("--bs-border-color");
  return {
    responsive: true,
    maintainAspectRatio: false,
    animation: !matchMedia("(prefers-reduced-motion: reduce)").matches && { duration: 250 },
    interaction: { mode: "index", intersect: false },
    plugins: { legend: { position: "bottom", labels: { color: text, boxWidth: 12 } } },
    scales: {
      x: { stacked: true, grid: { display: false }, ticks: { color: text, maxRotation: 0, autoSkipPadding: 12 } },
      y: {
        stacked: true,
        beginAtZero: true,
        grid: { color: lines },
        border: { display: false },
        ticks: { color: text, precision: 0, maxTicksLimit: 6 },
      },
    },
  };
};

if (canvas && source && globalThis.Chart) {
  const series = JSON.parse(source.textContent);
  const chart = new globalThis.Chart(canvas, {
    type: "bar",
    data: {
      labels: series.days,
      datasets: [
        dataset(translate("Prompt"), series.prompt, "#8f8fe8"),
        dataset(translate("Generated"), series.completion, "#2f9e77"),
      ],
    },
    options: optionsOf(),
  });
  const follow = () => {
    chart.options = optionsOf();
    chart.update("none");
  };
  new MutationObserver(follow).observe(document.documentElement, { attributeFilter: ["data-bs-theme"] });
}
