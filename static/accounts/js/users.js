// The page of users: makes, changes and deletes them through the API.
import { patch, post, remove } from "../../llamagpu/js/api.js";
import { confirm } from "../../llamagpu/js/dialog.js";
import { showError } from "../../llamagpu/js/toast.js";
import { translate } from "../../llamagpu/js/words.js";

const dialog = document.getElementById("user-dialog");
const by = (id) => document.getElementById(id);

function show(button) {
  const data = button.dataset;
  const isNew = !data.edit;
  dialog.dataset.user = data.edit ?? "";
  by("user-title").textContent = isNew
    ? translate("New user")
    : translate("Change “{name}”", { name: data.username });
  for (const part of dialog.querySelectorAll("[data-for]")) part.hidden = (part.dataset.for === "new") !== isNew;
  by("username").value = "";
  by("username").required = by("password").required = isNew;
  by("password").value = "";
  by("role").value = data.role ?? "user";
  by("email").value = data.email ?? "";
  by("retention").value = data.retention ?? "";
  by("active").checked = data.active !== "false";
  dialog.before = { role: data.role, email: data.email, retention: data.retention, is_active: data.active === "true" };
  by("user-problem").hidden = true;
  dialog.showModal();
}

function save() {
  const body = { role: by("role").value, email: by("email").value };
  if (by("password").value) body.password = by("password").value;
  if (!dialog.dataset.user) return post("/api/users", { ...body, username: by("username").value });
  body.retention = by("retention").value.trim();
  body.is_active = by("active").checked;
  for (const [name, value] of Object.entries(dialog.before)) if (body[name] === value) delete body[name];
  return patch(`/api/users/${dialog.dataset.user}`, body);
}

async function destroy({ delete: id, username }) {
  const said = await confirm({
    title: translate("Delete “{name}”?", { name: username }),
    text: translate("Keys, jobs and conversations go too. What was used stays in the usage, deeds in the audit log."),
    action: translate("Delete"),
  });
  if (said) await remove(`/api/users/${id}`).then(() => location.reload(), showError);
}

by("new-user")?.addEventListener("click", (event) => show(event.currentTarget));
document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.edit) show(button);
  if (button?.dataset.delete) destroy(button.dataset);
});
by("user-form")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await save();
    location.reload();
  } catch (error) {
    by("user-problem").textContent = error.message;
    by("user-problem").hidden = false;
  }
});
