// Copies text. Without TLS browsers offer no clipboard but on localhost: then it is selected instead.
import { translate } from "./words.js";

export async function copyFrom(source, button, status) {
  const label = button.querySelector("span") ?? button;
  const before = (button.dataset.label ??= label.textContent);
  try {
    await navigator.clipboard.writeText(source.textContent);
    label.textContent = translate("Copied");
    if (status) status.textContent = translate("Copied to the clipboard.");
  } catch {
    getSelection().selectAllChildren(source);
    label.textContent = translate("Selected: press Ctrl-C");
    if (status) status.textContent = translate("The text is selected: copy it with the keyboard.");
  }
  setTimeout(() => {
    label.textContent = before;
    if (status) status.textContent = "";
  }, 4000);
}
