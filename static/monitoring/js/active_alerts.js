// The alerts that fire now, above the figures; nothing where none does.
import { get } from "../../llamagpu/js/api.js";
import { ago, dateTime } from "../../llamagpu/js/format.js";

const list = document.getElementById("alerts");
const MOST = 5;

function line({ severity, summary, started_at: since }) {
  const item = document.createElement("li");
  item.className = severity;
  const icon = document.createElement("i");
  icon.className = `bi ${severity === "info" ? "bi-info-circle" : "bi-exclamation-triangle"}`;
  icon.setAttribute("aria-hidden", "true");
  const words = document.createElement("a");
  words.href = "/alerts";
  words.className = "text-reset";
  words.textContent = summary;
  const time = document.createElement("time");
  time.dateTime = since;
  time.dataset.style = "ago";
  time.textContent = ago(since);
  time.title = dateTime(since);
  item.append(icon, words, time);
  return item;
}

// Who is away, or may not ask, sees none: the bar of the page tells of the first.
export async function showAlerts() {
  try {
    const { results } = await get(`/api/alerts?state=firing&limit=${MOST}`);
    list.replaceChildren(...results.map(line));
    list.hidden = !results.length;
  } catch {
    list.hidden = true;
  }
}
