// One plugin: its state as it changes, its settings as a form, a trial on a sample.
import { duration } from "../../llamagpu/js/format.js";
import { subscribe } from "../../llamagpu/js/live.js";
import { showError, toast } from "../../llamagpu/js/toast.js";
import { translate } from "../../llamagpu/js/words.js";
import { ACTIONS, rollBack, setConfig, setRules, tryOut } from "./plugin_actions.js";
import { build } from "./schema_form.js";

const page = document.getElementById("plugin");
const plugin = page.dataset.plugin;
const by = (id) => document.getElementById(id);
const json = (id) => JSON.parse(by(id).textContent);
const STATE_EVERY = 5000;
const OUTCOMES = { answered: translate("answered"), refused: translate("refused"), failed: translate("failed") };

async function refreshState() {
  const state = by("state");
  const response = await fetch(state.dataset.address, { credentials: "same-origin" });
  if (!response.ok || response.redirected) return;
  state.replaceChildren(...new DOMParser().parseFromString(await response.text(), "text/html").body.children);
}

async function send(form, request, words) {
  const problem = form.querySelector("[data-problem]");
  problem.hidden = true;
  try {
    await request();
    toast(words, "good");
    return true;
  } catch (error) {
    problem.textContent = error.message;
    problem.hidden = false;
    return false;
  }
}

const names = (id) => by(id).value.split(",").map((name) => name.trim()).filter(Boolean);

function showTrial({ outcome, result, reason, duration: seconds }) {
  const box = by("try-result");
  const head = document.createElement("p");
  head.className = outcome === "answered" ? "text-good" : "text-bad";
  head.textContent = `${OUTCOMES[outcome] ?? outcome} (${duration(seconds)})${reason ? `: ${reason}` : ""}`;
  box.replaceChildren(head);
  if (!result) return;
  const body = document.createElement("pre");
  body.className = "try-answer";
  body.textContent = typeof result.text === "string" ? result.text : JSON.stringify(result, null, 2);
  box.append(body);
}

page.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-action]");
  if (!button) return;
  button.disabled = true;
  try {
    const isDone = await ACTIONS[button.dataset.action](plugin, page.dataset.sha256);
    if (isDone !== false) location.assign(button.dataset.action === "delete" ? "/plugins" : location.href);
  } catch (error) {
    showError(error);
    await refreshState().catch(() => {});
  }
  button.disabled = false;
});
document.addEventListener("click", async (event) => {
  const number = event.target.closest("button")?.dataset.rollback;
  if (number) await rollBack(plugin, Number(number)).then(() => location.reload(), showError);
});
by("rules-form")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const rules = { policy: by("policy").value, models: names("for-models"), roles: names("for-roles") };
  send(event.target, () => setRules(plugin, rules), translate("Saved."));
});
if (by("config-form")) {
  const form = build(json("settings-schema"), json("settings-values") ?? {});
  by("config-fields").append(...form.boxes);
  by("config-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (await send(event.target, async () => setConfig(plugin, form.read()), translate("The settings hold from the next request on."))) {
      await refreshState().catch(() => {});
    }
  });
}
by("try-form")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = event.target.querySelector("[type=submit]");
  button.disabled = true;
  try {
    showTrial(await tryOut(plugin, { text: by("try-text").value, hook: by("try-hook").value }));
  } catch (error) {
    by("try-result").replaceChildren();
    showError(error);
  }
  button.disabled = false;
});

subscribe("plugin_events", ({ data }) => {
  if (data.plugin === plugin) refreshState().catch(() => {});
});
setInterval(() => {
  if (!document.hidden) refreshState().catch(() => {});
}, STATE_EVERY);
