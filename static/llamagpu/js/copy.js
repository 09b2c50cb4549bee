// Copies text. Without TLS browsers offer no clipboard but on localhost: then it is selected instead.

export async function copyFrom(source, button, status) {
  const label = button.querySelector("span") ?? button;
  const before = (button.dataset.label ??= label.textContent);
  try {
    await navigator.clipboard.writeText(source.textContent);
    label.textContent = "Copied";
    if (status) status.textContent = "Copied to the clipboard.";
  } catch {
    getSelection().selectAllChildren(source);
    label.textContent = "Selected: press Ctrl-C";
    if (status) status.textContent = "The text is selected: copy it with the keyboard.";
  }
  setTimeout(() => {
    label.textContent = before;
    if (status) status.textContent = "";
  }, 4000);
}
