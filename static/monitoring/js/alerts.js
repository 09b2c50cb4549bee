// The page of alerts: its tab follows what happens; dialogs and buttons call the API.
import { call } from "../../llamagpu/js/api.js";
import { confirm } from "../../llamagpu/js/dialog.js";
import { subscribe } from "../../llamagpu/js/live.js";
import { localizeTimes } from "../../llamagpu/js/page.js";
import { toast } from "../../llamagpu/js/toast.js";
import { translate } from "../../llamagpu/js/words.js";

const body = document.getElementById("alerts-body");
const announcement = document.getElementById("announcement");
const HOUR = 3600000;
const STATES = { firing: translate("firing"), resolved: translate("resolved") };

async function refresh() {
  const response = await fetch(body.dataset.address, { credentials: "same-origin" });
  if (!response.ok) return;
  body.innerHTML = await response.text();
  localizeTimes(body);
}

// `a=1, b=2` as an object; what is no pair makes the API name the field.
function labelsOf(text) {
  const pairs = text.split(",").map((pair) => pair.trim()).filter(Boolean);
  return Object.fromEntries(pairs.map((pair) => pair.split(/=(.*)/s).slice(0, 2).map((part) => part.trim())));
}

function valueOf(field) {
  const text = field.value.trim();
  switch (field.dataset.type) {
    case "flag":
      return field.checked;
    case "number":
      return text === "" ? undefined : Number(text.replace(",", "."));
    case "labels":
      return labelsOf(text);
    case "list":
      return text ? text.split(",").map((part) => part.trim()) : undefined;
    case "optional":
      return text || undefined;
    case "hours":
      return new Date(Date.now() + Number(text) * HOUR).toISOString();
    default:
      return field.value;
  }
}

function show(field, value) {
  if (field.dataset.type === "flag") field.checked = value;
  else if (field.dataset.type === "labels") field.value = Object.entries(value).map(([a, b]) => `${a}=${b}`).join(", ");
  else field.value = value;
}

function showKind(dialog) {
  const kind = dialog.querySelector("[name=kind]")?.value;
  for (const part of dialog.querySelectorAll("[data-kind]:not(option)")) part.hidden = part.dataset.kind !== kind;
}

function open(dialog, { path = "", values = "", rule, labels }) {
  const form = dialog.querySelector("form");
  form.reset();
  form.querySelector("[role=alert]").hidden = true;
  form.dataset.create ??= form.dataset.path;
  form.dataset.method = path ? "PATCH" : "POST";
  form.dataset.path = path || form.dataset.create;
  const heading = form.querySelector("[data-new]");
  if (heading) heading.textContent = path ? heading.dataset.old : heading.dataset.new;
  const known = values ? JSON.parse(values) : {};
  for (const field of form.elements) {
    if (field.name in known) show(field, known[field.name]);
    if ("fixed" in field.dataset) field.disabled = Boolean(path);
  }
  if (rule !== undefined) form.elements.rule.value = rule;
  if (labels !== undefined) form.elements.labels.value = labels;
  showKind(dialog);
  describeMetric();
  dialog.showModal();
}

function describeMetric() {
  const field = document.getElementById("rule-metric");
  const help = document.getElementById("rule-metric-help");
  if (!field) return;
  const option = [...document.querySelectorAll("#watchables option")].find(({ value }) => value === field.value);
  const facts = option ? [[translate("Labels"), option.dataset.labels], [translate("Kind"), option.dataset.kind]] : [];
  const told = facts.filter(([, value]) => value).map(([name, value]) => `${name}: ${value}.`);
  help.textContent = option ? [option.label, ...told].join(" ") : "";
}

async function submit(form) {
  const sent = {};
  for (const field of form.elements) {
    if (!field.name || field.disabled || field.closest("[hidden]")) continue;
    const value = valueOf(field);
    if (value !== undefined) sent[field.name] = value;
  }
  const problem = form.querySelector("[role=alert]");
  try {
    const answer = await call(form.dataset.method, form.dataset.path, sent);
    form.closest("dialog").close();
    await refresh();
    announcement.textContent = translate("Saved.");
    if (answer?.secret) {
      document.getElementById("made-secret").textContent = answer.secret;
      document.getElementById("secret-dialog").showModal();
    }
  } catch (error) {
    problem.textContent = error.message;
    problem.hidden = false;
  }
}

async function perform({ call: method, path, asks, done }) {
  if (asks && !(await confirm({ title: asks, text: "", action: translate("Delete") }))) return;
  try {
    await call(method, path, method === "POST" ? {} : undefined);
    if (done) toast(done);
    await refresh();
  } catch (error) {
    toast(error.message, "bad");
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.opens) open(document.getElementById(button.dataset.opens), button.dataset);
  else if (button?.dataset.call) perform(button.dataset);
});
document.addEventListener("submit", (event) => {
  if (!event.target.dataset.method) return;
  event.preventDefault();
  submit(event.target);
});
document.addEventListener("input", (event) => {
  if (event.target.name === "kind") showKind(event.target.closest("dialog"));
  if (event.target.id === "rule-metric") describeMetric();
});
subscribe("alert_events", ({ data }) => {
  announcement.textContent = `${data.rule}: ${STATES[data.state] ?? data.state}`;
  refresh();
});
