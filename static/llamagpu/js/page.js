// What every page of a signed-in person does: times in the reader's zone, copy buttons, questions before
// forms that destroy something, dialogs that a button opens or closes.

import { copyFrom } from "./copy.js";
import { confirm } from "./dialog.js";
import { ago, dateTime, timeOfDay } from "./format.js";

export function localizeTimes(root = document) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const shown = { ago, clock: timeOfDay }[element.dataset.style] ?? dateTime;
    element.textContent = shown(element.dateTime);
    element.title = dateTime(element.dateTime);
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.copies) {
    copyFrom(document.getElementById(button.dataset.copies), button, document.querySelector("[data-copied]"));
  }
  if (button && "close" in button.dataset) button.closest("dialog")?.close();
});

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.dataset.confirm || form.dataset.confirmed) return;
  event.preventDefault();
  const said = await confirm({
    title: form.dataset.confirm,
    text: form.dataset.confirmText ?? "",
    action: form.dataset.confirmAction,
  });
  if (!said) return;
  form.dataset.confirmed = "true";
  form.requestSubmit(event.submitter ?? undefined);
});

// Browsers allow it on https and on localhost alone.
if ("serviceWorker" in navigator) navigator.serviceWorker.register("/service-worker.js").catch(() => {});

localizeTimes();
setInterval(() => localizeTimes(), 30000);
