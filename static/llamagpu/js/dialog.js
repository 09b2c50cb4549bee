// Asks before something that cannot be taken back. Resolves to true when the person says yes.
import { translate } from "./words.js";

export function confirm({ title, text, action = translate("Go on"), isDestructive = true }) {
  const dialog = document.createElement("dialog");
  const heading = document.createElement("h2");
  heading.className = "h5";
  heading.id = "confirm-title";
  heading.textContent = title;
  const words = document.createElement("p");
  words.textContent = text;
  const form = document.createElement("form");
  form.method = "dialog";
  form.className = "d-flex justify-content-end gap-2";
  for (const [value, label, look] of [
    ["no", translate("Cancel"), "btn-outline-secondary"],
    ["yes", action, isDestructive ? "btn-danger" : "btn-primary"],
  ]) {
    const button = document.createElement("button");
    button.className = `btn ${look}`;
    button.value = value;
    button.textContent = label;
    form.append(button);
  }
  dialog.setAttribute("aria-labelledby", heading.id);
  dialog.append(heading, words, form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
  });
}
