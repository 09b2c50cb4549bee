// The playground: what is asked goes to one model or two, what comes back is shown as it comes.
import { remove } from "../../../llamagpu/js/api.js";
import { showError, toast } from "../../../llamagpu/js/toast.js";
import { translate } from "../../../llamagpu/js/words.js";
import { generate, resume } from "../event_stream.js";
import { Answer } from "./answer.js";
import * as history from "./history.js";
import * as parameters from "./parameters.js";
import { WRITERS } from "./snippets.js";
import * as turns from "./turns.js";

const by = (id) => document.getElementById(id);
const composer = by("composer");
const prompt = by("prompt");
const compareButton = by("compare-button");

const conversation = { title: "", messages: [] };
let running = null;

const isChat = () => by("mode-chat").checked;
const isComparing = () => compareButton.getAttribute("aria-pressed") === "true";
const models = () => (isComparing() ? [by("model").value, by("other-model").value] : [by("model").value]);

function requestBody(model, text) {
  const values = parameters.read();
  if (values === null) return null;
  const words = isChat()
    ? {
        messages: turns.messagesFor(
          model, text ? [...conversation.messages, { role: "user", content: text }] : conversation.messages,
          parameters.systemPrompt(),
        ),
      }
    : { text };
  return { model, ...words, ...values };
}

function save() {
  if (!isChat()) return;
  const system = parameters.systemPrompt();
  history.save({
    title: conversation.title,
    model: by("model").value,
    settings: parameters.read() ?? {},
    messages: system ? [{ role: "system", content: system }, ...conversation.messages] : conversation.messages,
  });
}

function setRunning(controller) {
  running = controller;
  by("send").hidden = controller !== null;
  by("stop").hidden = controller === null;
}

// Reads one answer to its end; the turn that it becomes is written down as it stands.
async function read(events, answer, turn) {
  try {
    for await (const { event, data } of events) {
      if (event === "restart") answer.restart();
      else if (event === "error") answer.fail(data.error.message);
      else if (data.is_complete) answer.finish(data);
      else answer.append(data.token);
      turns.follow();
    }
    if (turn.job_id) answer.showPlugins(turn.job_id).catch(() => {});
  } catch (error) {
    if (error.name === "AbortError") answer.stopped();
    else answer.fail(error.message);
  }
  turn.content = answer.text;
  turns.follow();
}

async function ask(text) {
  const bodies = models().map((model) => requestBody(model, text));
  if (bodies.includes(null)) {
    toast(translate("A parameter is out of its range: see Parameters."), "bad");
    return;
  }
  prompt.value = "";
  turns.showUser(text);
  conversation.title ||= text.trim().slice(0, 80);
  const controller = new AbortController();
  controller.jobs = [];
  setRunning(controller);
  const asked = bodies.map((body) => ({ body, answer: new Answer(body.model) }));
  turns.showAnswers(asked.map(({ answer }) => answer));
  const userTurn = { role: "user", content: text };
  const answerTurns = asked.map(({ body }) => ({ role: "assistant", content: "", model: body.model }));
  conversation.messages.push(userTurn, ...answerTurns);
  await Promise.all(
    asked.map(({ body, answer }, index) => {
      const turn = answerTurns[index];
      const onJob = (jobId) => {
        turn.job_id = jobId;
        controller.jobs.push(jobId);
        save();
      };
      // Resumable: who reloads the page finds the answer going on.
      return read(generate({ ...body, resumable: true }, { signal: controller.signal, onJob }), answer, turn);
    }),
  );
  if (running === controller) setRunning(null);
  by("announcement").textContent = translate("The answer is complete.");
  if (!isChat()) conversation.messages = [];
  save();
}

function stop() {
  if (!running) return;
  // The generation itself ends, not only our reading of it.
  for (const jobId of running.jobs) remove(`/api/jobs/${jobId}`).catch(() => {});
  running.abort();
}

function begin() {
  stop();
  conversation.title = "";
  conversation.messages = [];
  history.begin();
  turns.clear();
  window.history.replaceState(null, "", location.pathname);
  prompt.focus();
}

async function open(id) {
  const saved = await history.load(id);
  stop();
  turns.clear();
  const system = saved.messages[0]?.role === "system" ? saved.messages[0].content : "";
  conversation.title = saved.title;
  conversation.messages = system ? saved.messages.slice(1) : saved.messages;
  parameters.fill(saved.settings, system);
  if ([...by("model").options].some((option) => option.value === saved.model)) by("model").value = saved.model;
  let index = 0;
  while (index < conversation.messages.length) {
    const turn = conversation.messages[index];
    if (turn.role === "user") {
      turns.showUser(turn.content);
      index += 1;
      continue;
    }
    const answers = [];
    while (conversation.messages[index]?.role === "assistant") answers.push(conversation.messages[index++]);
    showSaved(answers);
  }
}

function showSaved(saved) {
  const answers = saved.map((turn) => new Answer(turn.model ?? ""));
  turns.showAnswers(answers);
  saved.forEach((turn, index) => {
    if (turn.content || !turn.job_id) answers[index].restore(turn.content);
    else read(resume(turn.job_id), answers[index], turn).then(save);
  });
}

function showSnippet() {
  const body = requestBody(by("model").value, prompt.value.trim() || (conversation.messages.length ? "" : "Hello!"));
  if (body === null) {
    toast(translate("A parameter is out of its range: see Parameters."), "bad");
    return;
  }
  const language = document.querySelector("input[name=language]:checked").value;
  by("snippet").textContent = WRITERS[language](location.origin, body);
  if (!by("code-dialog").open) by("code-dialog").showModal();
}

composer?.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = prompt.value;
  if (!running && text.trim()) ask(text).catch(showError);
});
prompt?.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  composer.requestSubmit();
});
by("stop")?.addEventListener("click", stop);
by("new-button")?.addEventListener("click", begin);
by("code-button")?.addEventListener("click", showSnippet);
for (const choice of document.querySelectorAll("input[name=language]")) choice.addEventListener("change", showSnippet);
for (const choice of document.querySelectorAll("input[name=mode]")) choice.addEventListener("change", begin);
for (const button of document.querySelectorAll("[data-suggestion]")) {
  button.addEventListener("click", () => ask(button.textContent).catch(showError));
}
compareButton?.addEventListener("click", () => {
  const isOn = !isComparing();
  compareButton.setAttribute("aria-pressed", String(isOn));
  by("compare").hidden = !isOn;
});
if (composer) {
  history.connect((id) => {
    bootstrap.Offcanvas.getInstance(by("history"))?.hide();
    open(id).catch(showError);
  });
  const asked = new URLSearchParams(location.search).get("model");
  if ([...by("model").options].some((option) => option.value === asked)) by("model").value = asked;
  if (location.hash.length > 1) open(location.hash.slice(1)).catch(begin);
  prompt.focus();
}
