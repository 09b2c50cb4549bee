// "Try it": a call as its form says, with the session of this page, and the answer as it comes.

import { headers } from "./api.js";
import { confirm } from "./dialog.js";
import { translate } from "./words.js";

// What is shown of an answer; the rest is counted alone.
const MOST_CHARACTERS = 200_000;

const values = (form, place) =>
  [...form.querySelectorAll(`[data-place="${place}"]`)]
    .filter((input) => input.value !== "")
    .map((input) => [input.name, input.value]);

function addressOf(form) {
  const inPath = Object.fromEntries(values(form, "path"));
  const path = form.dataset.path.replace(/\{(\w+)\}/g, (whole, name) => encodeURIComponent(inPath[name] ?? whole));
  const query = new URLSearchParams(values(form, "query")).toString();
  return query ? `${path}?${query}` : path;
}

function requestOf(form, signal) {
  const { method } = form.dataset;
  const made = { method, credentials: "same-origin", signal, headers: { ...headers(method), Accept: "*/*" } };
  for (const [name, value] of values(form, "header")) made.headers[name] = value;
  const body = form.querySelector('[data-place="body"]');
  if (body) {
    made.body = body.value;
    made.headers["Content-Type"] = "application/json";
  }
  return made;
}

function shown(text, type) {
  if (!type.includes("json")) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

// Text appears while it comes, so that a stream is seen to be one.
async function readInto(place, response) {
  const type = response.headers.get("Content-Type") ?? "";
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    length += value.length;
    if (text.length < MOST_CHARACTERS) text += value;
    place.textContent = text.slice(0, MOST_CHARACTERS);
    place.hidden = false;
  }
  if (length > MOST_CHARACTERS) {
    place.textContent += `\n${translate("… and {number} more characters", { number: length - MOST_CHARACTERS })}`;
  } else {
    place.textContent = shown(text, type);
    place.hidden = text === "";
  }
}

async function send(form) {
  const outcome = form.querySelector("[data-outcome]");
  const answer = form.querySelector("[data-answer]");
  const stop = form.querySelector("[data-stop]");
  const button = form.querySelector("button[type=submit]");
  const aborter = new AbortController();
  stop.onclick = () => aborter.abort();
  button.disabled = true;
  stop.hidden = false;
  answer.hidden = true;
  answer.textContent = "";
  outcome.textContent = translate("Waiting for the answer");
  const began = performance.now();
  try {
    const response = await fetch(addressOf(form), requestOf(form, aborter.signal));
    const status = `${response.status} ${response.statusText}`.trim();
    const id = response.headers.get("X-Request-ID") ?? "";
    outcome.textContent = `${status} · ${id}`;
    await readInto(answer, response);
    outcome.textContent = `${status} · ${Math.round(performance.now() - began)} ms · ${id}`;
  } catch (error) {
    outcome.textContent =
      error.name === "AbortError" ? translate("Stopped") : translate("The server cannot be reached.");
  } finally {
    button.disabled = false;
    stop.hidden = true;
  }
}

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form.try");
  if (!form) return;
  event.preventDefault();
  const call = `${form.dataset.method} ${addressOf(form)}`;
  const isSafe = form.dataset.method !== "DELETE";
  if (isSafe || (await confirm({ title: translate("Send this call?"), text: call, action: translate("Send") }))) {
    await send(form);
  }
});

// A link to one call opens it to be tried.
const opened = location.hash && document.getElementById(location.hash.slice(1));
if (opened) for (const details of opened.querySelectorAll("details:has(form)")) details.open = true;
