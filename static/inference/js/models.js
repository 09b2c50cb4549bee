// Pages of models: cards that follow what happens, and what may be done to them.
import { patch, post, remove } from "../../llamagpu/js/api.js";
import { confirm } from "../../llamagpu/js/dialog.js";
import { bytes } from "../../llamagpu/js/format.js";
import { subscribe } from "../../llamagpu/js/live.js";
import { showError, toast } from "../../llamagpu/js/toast.js";
import { translate } from "../../llamagpu/js/words.js";

const cards = document.getElementById("cards");
const announcement = document.getElementById("announcement");
const BUSY_EVERY = 1000;
const QUIET_EVERY = 15000;

let timer = null;
let states = readStates();

function readStates() {
  return new Map(
    [...cards.querySelectorAll("[data-model]")].map((card) => [
      card.dataset.model, card.querySelector(".state")?.textContent ?? "",
    ]),
  );
}

function announceChanges() {
  const now = readStates();
  for (const [model, state] of now) {
    if (states.has(model) && states.get(model) !== state) announcement.textContent = `${model}: ${state}`;
  }
  states = now;
}

function schedule() {
  clearTimeout(timer);
  const isBusy = cards.querySelector("[data-busy=true]") !== null;
  timer = setTimeout(refresh, isBusy ? BUSY_EVERY : QUIET_EVERY);
}

// The server draws the cards; a menu that is open or a control that has the focus is left alone.
export async function refresh() {
  clearTimeout(timer);
  if (document.hidden || cards.querySelector(".dropdown-menu.show")) {
    schedule();
    return;
  }
  try {
    const response = await fetch(cards.dataset.address, { credentials: "same-origin" });
    if (response.ok && !response.redirected) draw(await response.text());
  } catch {
    // Away for a moment: the bar of the page says so, and the next look comes.
  }
  schedule();
}

function draw(html) {
  const drawn = new DOMParser().parseFromString(html, "text/html");
  const focused = document.activeElement?.closest("[data-model]")?.dataset.model;
  const action = document.activeElement?.dataset.action;
  const only = cards.dataset.only;
  const fresh = only ? [drawn.querySelector(`[data-model="${CSS.escape(only)}"]`)] : [...drawn.body.children];
  if (only && !fresh[0]) {
    location.assign("/models");
    return;
  }
  cards.replaceChildren(...fresh);
  if (focused) {
    const card = cards.querySelector(`[data-model="${CSS.escape(focused)}"]`);
    (card?.querySelector(`[data-action="${action}"]`) ?? card?.querySelector("button, a"))?.focus();
  }
  announceChanges();
}

const address = (model, verb = "") => `/api/models/${encodeURIComponent(model)}${verb && `/${verb}`}`;

function showLoadDialog(model, button) {
  const dialog = document.getElementById("load-dialog");
  dialog.dataset.model = model;
  dialog.querySelector("[data-model-name]").textContent = model;
  const fit = dialog.querySelector("[data-fit]");
  fit.hidden = !button.dataset.needed;
  if (button.dataset.needed) {
    const needed = Number(button.dataset.needed);
    const available = Number(button.dataset.available);
    const figures = { needed: bytes(needed), available: bytes(available) };
    fit.textContent = translate("Needs at least {needed} of {available} that can be had.", figures);
    fit.classList.toggle("text-bad", needed > available);
  }
  dialog.querySelector("[data-problem]").hidden = true;
  dialog.showModal();
}

async function destroy(model) {
  const said = await confirm({
    title: translate("Delete “{name}”?", { name: model }),
    text: translate("Its engines end, and the files of a pulled model are removed."),
    action: translate("Delete"),
  });
  if (said) await remove(address(model));
}

const ACTIONS = {
  load: (model, button) => showLoadDialog(model, button),
  unload: (model) => post(address(model, "unload")),
  pull: (model) => post(address(model, "pull")),
  "cancel-pull": (model) => remove(address(model, "pull")),
  pin: (model) => patch(address(model), { pinned: true }),
  unpin: (model) => patch(address(model), { pinned: false }),
  enable: (model) => patch(address(model), { enabled: true }),
  disable: (model) => patch(address(model), { enabled: false }),
  delete: destroy,
};

// Numbers as numbers, empty fields as `empty` says.
function values(form, empty) {
  const body = {};
  for (const field of form.elements) {
    if (!field.name) continue;
    if (field.value === "") {
      if (empty !== undefined) body[field.name] = empty;
    } else {
      body[field.name] = field.type === "number" || field.name === "optimization_level" ? Number(field.value) : field.value;
    }
  }
  return body;
}

async function send(form, request) {
  const problem = form.querySelector("[role=alert]");
  const button = form.querySelector("[type=submit]");
  problem.hidden = true;
  button.disabled = true;
  try {
    await request();
    form.closest("dialog")?.close();
    await refresh();
    return true;
  } catch (error) {
    problem.textContent = error.message;
    problem.hidden = false;
    return false;
  } finally {
    button.disabled = false;
  }
}

function register(form) {
  const kind = form.querySelector("#source-kind").value;
  const body = { source: `${kind}:${form.querySelector("#source").value.trim()}` };
  const name = form.querySelector("#name").value.trim();
  if (name) body.name = name;
  if (kind === "remote") {
    const [model, key] = [form.querySelector("#upstream-model").value, form.querySelector("#upstream-key").value];
    body.upstream_model = model;
    body.context_length = Number(form.querySelector("#upstream-context").value);
    if (key) body.api_key = key;
  }
  return post("/api/models", body);
}

function showSource() {
  const kind = document.getElementById("source-kind");
  const example = kind.selectedOptions[0].dataset.example;
  document.getElementById("source-help").textContent = translate("For example: {example}", { example });
  document.getElementById("remote-fields").hidden = kind.value !== "remote";
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.opens) document.getElementById(button.dataset.opens).showModal();
  const action = ACTIONS[button?.dataset.action];
  if (!action) return;
  button.disabled = true;
  try {
    await action(button.closest("[data-model]").dataset.model, button);
  } catch (error) {
    showError(error);
  }
  button.disabled = false;
  if (button.dataset.action !== "load") await refresh();
});

document.getElementById("source-kind")?.addEventListener("change", showSource);
document.getElementById("register-form")?.addEventListener("submit", (event) => {
  event.preventDefault();
  send(event.target, () => register(event.target)).then((isDone) => isDone && event.target.reset());
});
document.getElementById("load-form")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const model = document.getElementById("load-dialog").dataset.model;
  send(event.target, () => post(address(model, "load"), values(event.target)));
});
document.getElementById("limits-form")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  if (await send(form, () => patch(address(form.dataset.model), values(form, null)))) toast(translate("Saved."), "good");
});

if (document.getElementById("source-kind")) showSource();
subscribe("model_events", () => {
  clearTimeout(timer);
  timer = setTimeout(refresh, 300);
});
schedule();
