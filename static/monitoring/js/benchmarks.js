// Reports of benchmarks: speed by workload and engine, newest first.
import { get } from "../../llamagpu/js/api.js";
import { dateTime, rounded } from "../../llamagpu/js/format.js";
import { translate } from "../../llamagpu/js/words.js";

const element = (tag, className = "", text = "") => {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return node;
};

function table({ comparison }) {
  const engines = comparison.engines.filter((engine) => Object.keys(engine.speed).length);
  const workloads = [...new Set(engines.flatMap((engine) => Object.keys(engine.speed)))];
  const result = element("table", "table table-sm mb-0");
  const head = element("tr");
  head.append(element("th", "", translate("Tokens a second")), ...workloads.map((name) => element("th", "number", name)));
  result.append(head);
  for (const engine of engines) {
    const row = element("tr");
    const cells = workloads.map((name) => element("td", "number", rounded(engine.speed[name]?.median, 0)));
    row.append(element("td", "", engine.name), ...cells);
    result.append(row);
  }
  const frame = element("div", "table-responsive");
  frame.append(result);
  return frame;
}

export async function showBenchmarks(root) {
  const { benchmarks } = await get("/api/benchmarks");
  if (!benchmarks.length) {
    root.append(element("p", "text-body-secondary", translate("None was kept: manage.py bench --save keeps one.")));
    return;
  }
  for (const { created_at: at, report } of benchmarks) {
    const panel = element("article", "panel mb-3");
    panel.append(element("h3", "panel-title", `${dateTime(at)}, ${report.model}`));
    const { processor, cores, commit } = report.machine;
    panel.append(element("p", "small text-body-secondary", `${processor}, ${translate("{number} cores", { number: cores.length })}, ${commit}`));
    if (report.comparison) panel.append(table(report));
    root.append(panel);
  }
}
