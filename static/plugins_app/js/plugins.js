// The list of plugins: follows what happens, and lets those who may act and put them into order.
import { subscribe } from "../../llamagpu/js/live.js";
import { showError, toast } from "../../llamagpu/js/toast.js";
import { translate } from "../../llamagpu/js/words.js";
import { ACTIONS, scan, setOrder, upload } from "./plugin_actions.js";

const root = document.getElementById("list");
const announcement = document.getElementById("announcement");
let dragged = null;

const items = () => [...root.querySelectorAll("[data-plugin]")];
const isSortable = () => root.querySelector("[data-sortable=true]") !== null;

async function refresh() {
  if (dragged) return;
  const query = new URLSearchParams(location.search);
  query.set("part", "list");
  const response = await fetch(`${location.pathname}?${query}`, { credentials: "same-origin" });
  if (!response.ok || response.redirected) return;
  const focused = document.activeElement?.closest("[data-plugin]")?.dataset.plugin;
  const isHandle = document.activeElement?.classList.contains("plugin-handle");
  root.replaceChildren(...new DOMParser().parseFromString(await response.text(), "text/html").body.children);
  const item = focused && root.querySelector(`[data-plugin="${CSS.escape(focused)}"]`);
  if (item) (isHandle ? item.querySelector(".plugin-handle") : item.querySelector("button[data-action], a")).focus();
}

async function keepOrder(moved) {
  const order = items().map((item) => item.dataset.plugin);
  announcement.textContent = translate("{name} is number {place} of {number}.", {
    name: moved, place: order.indexOf(moved) + 1, number: order.length,
  });
  try {
    await setOrder(order);
  } catch (error) {
    showError(error);
    await refresh();
  }
}

function move(item, step) {
  const other = step < 0 ? item.previousElementSibling : item.nextElementSibling;
  if (!other) return;
  if (step < 0) other.before(item);
  else other.after(item);
  item.querySelector(".plugin-handle").focus();
  keepOrder(item.dataset.plugin);
}

root.addEventListener("keydown", (event) => {
  if (!event.target.classList.contains("plugin-handle")) return;
  const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (!step) return;
  event.preventDefault();
  move(event.target.closest("[data-plugin]"), step);
});
root.addEventListener("dragstart", (event) => {
  dragged = event.target.closest("[data-plugin]");
  if (!dragged || !isSortable()) return;
  event.dataTransfer.effectAllowed = "move";
  event.dataTransfer.setData("text/plain", dragged.dataset.plugin);
  event.dataTransfer.setDragImage(dragged, 20, 20);
  dragged.classList.add("plugin-dragged");
});
root.addEventListener("dragover", (event) => {
  const over = event.target.closest("[data-plugin]");
  if (!dragged || !over || over === dragged) return;
  event.preventDefault();
  const { top, height } = over.getBoundingClientRect();
  if (event.clientY < top + height / 2) over.before(dragged);
  else over.after(dragged);
});
root.addEventListener("drop", (event) => event.preventDefault());
root.addEventListener("dragend", () => {
  if (!dragged) return;
  const moved = dragged;
  moved.classList.remove("plugin-dragged");
  dragged = null;
  keepOrder(moved.dataset.plugin);
});

root.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-action]");
  if (!button) return;
  const plugin = button.closest("[data-plugin]").dataset.plugin;
  button.disabled = true;
  try {
    await ACTIONS[button.dataset.action](plugin, button.dataset.sha256);
  } catch (error) {
    showError(error);
  }
  button.disabled = false;
  await refresh().catch(showError);
});

document.getElementById("scan")?.addEventListener("click", async () => {
  try {
    await scan();
    toast(translate("The folders were read."), "good");
    await refresh();
  } catch (error) {
    showError(error);
  }
});
const dialog = document.getElementById("upload-dialog");
document.getElementById("upload-button")?.addEventListener("click", () => dialog.showModal());
document.getElementById("upload-form")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const problem = document.getElementById("upload-problem");
  problem.hidden = true;
  try {
    await upload(new FormData(event.target));
    dialog.close();
    event.target.reset();
    toast(translate("Uploaded. It waits for your approval."), "good");
    await refresh();
  } catch (error) {
    problem.textContent = error.message;
    problem.hidden = false;
  }
});

let pending = null;
subscribe("plugin_events", () => {
  clearTimeout(pending);
  pending = setTimeout(() => refresh().catch(() => {}), 300);
});
