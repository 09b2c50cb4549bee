// The log: what the filters let through, and what comes while one looks. All of it is set as text.
import { get } from "../../llamagpu/js/api.js";
import { dateTime } from "../../llamagpu/js/format.js";

const PAGE = 200;
const MOST = 1000;
const EVERY = 2000;
const LOOKS = { ERROR: "state-bad", CRITICAL: "state-bad", WARNING: "state-warn" };

const form = document.getElementById("log-filters");
const lines = document.getElementById("log-lines");
const follow = document.getElementById("follow");
const older = document.getElementById("log-older");
const empty = document.getElementById("log-empty");
const problem = document.getElementById("log-problem");
let newest = "";
let oldest = "";
let asking = null;

function element(name, text = "", look = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (look) made.className = look;
  return made;
}

function cell(...parts) {
  const made = document.createElement("td");
  made.append(...parts);
  return made;
}

function rowOf(line) {
  const row = document.createElement("tr");
  const time = element("time", dateTime(line.timestamp));
  time.dateTime = line.timestamp;
  time.title = line.timestamp;
  const words = cell(element("span", line.message));
  words.className = "words";
  const origin = [line.logger, line.request_id, line.node].filter(Boolean).join(" · ");
  words.append(element("span", origin, "d-block small text-body-secondary"));
  if (line.exception) {
    const details = document.createElement("details");
    details.append(element("summary", "Traceback", "small"), element("pre", line.exception));
    words.append(details);
  }
  const level = element("span", line.level.toLowerCase(), `state ${LOOKS[line.level] ?? ""}`);
  row.append(cell(time), cell(level), cell(line.component), words);
  return row;
}

function addressOf(more) {
  const asked = new URLSearchParams({ limit: PAGE, ...more });
  for (const [name, value] of new FormData(form)) if (value.trim()) asked.set(name, value.trim());
  return `/api/system/logs?${asked}`;
}

async function ask(more = {}) {
  asking?.abort();
  asking = new AbortController();
  try {
    const { logs } = await get(addressOf(more), { signal: asking.signal });
    problem.hidden = true;
    return logs;
  } catch (error) {
    if (error.name === "AbortError") return null;
    problem.textContent = error.message;
    problem.hidden = false;
    return null;
  } finally {
    empty.hidden = lines.children.length > 0;
  }
}

async function begin() {
  const logs = await ask();
  if (!logs) return;
  newest = logs[0]?.id ?? "";
  oldest = logs.at(-1)?.id ?? "";
  lines.replaceChildren(...logs.map(rowOf));
  older.hidden = logs.length < PAGE;
  empty.hidden = logs.length > 0;
}

async function goOn() {
  if (!follow.checked || document.hidden) return;
  if (!newest) return begin();
  const logs = await ask({ after: newest });
  if (!logs?.length) return;
  newest = logs[0].id;
  lines.prepend(...logs.map(rowOf));
  while (lines.children.length > MOST) lines.lastElementChild.remove();
}

older.addEventListener("click", async () => {
  const logs = await ask({ before: oldest });
  if (!logs) return;
  oldest = logs.at(-1)?.id ?? oldest;
  lines.append(...logs.map(rowOf));
  older.hidden = logs.length < PAGE;
  follow.checked = false;
});
form.addEventListener("input", begin);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  begin();
});
await begin();
setInterval(goOn, EVERY);
