// The page of API keys: copies what is shown once, asks before a key is rotated or revoked.

// Without TLS browsers offer no clipboard but on localhost: then the text is selected for the reader.
async function copy(button) {
  const source = document.getElementById(button.dataset.copies);
  const status = document.querySelector("[data-copied]");
  const label = button.querySelector("span");
  const before = (button.dataset.label ??= label.textContent);
  try {
    await navigator.clipboard.writeText(source.textContent);
    label.textContent = "Copied";
    status.textContent = "Copied to the clipboard.";
  } catch {
    getSelection().selectAllChildren(source);
    label.textContent = "Selected: press Ctrl-C";
    status.textContent = "The text is selected: copy it with the keyboard.";
  }
  setTimeout(() => {
    label.textContent = before;
    status.textContent = "";
  }, 4000);
}

function ask(button) {
  const dialog = document.getElementById(button.dataset.opens);
  dialog.querySelector("form").action = button.dataset.action;
  dialog.querySelector("[data-key-name]").textContent = button.dataset.name;
  dialog.showModal();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.copies) copy(button);
  if (button?.dataset.opens) ask(button);
  if (button && "close" in button.dataset) button.closest("dialog").close();
});

// A reload would send the form again and make a second key; the list is what to reload.
if (document.querySelector("[data-shown-once]")) {
  const list = document.querySelector("form[aria-labelledby='new-key-title']").action;
  history.replaceState(null, "", list);
}
