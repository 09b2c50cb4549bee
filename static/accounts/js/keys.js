// The page of API keys: asks before a key is rotated or revoked.

function ask(button) {
  const dialog = document.getElementById(button.dataset.opens);
  dialog.querySelector("form").action = button.dataset.action;
  dialog.querySelector("[data-key-name]").textContent = button.dataset.name;
  dialog.showModal();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.opens) ask(button);
});

// A reload would send the form again and make a second key; the list is what to reload.
if (document.querySelector("[data-shown-once]")) {
  const list = document.querySelector("form[aria-labelledby='new-key-title']").action;
  history.replaceState(null, "", list);
}
