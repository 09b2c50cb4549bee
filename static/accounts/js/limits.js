// The page of limits: reads and writes those of one subject through the API.
import { get, put } from "../../llamagpu/js/api.js";
import { showError } from "../../llamagpu/js/toast.js";

const by = (id) => document.getElementById(id);
const dialog = by("limits-dialog");
const form = by("limits-form");
const address = (subject) => `/api/limits/${encodeURIComponent(subject)}`;

async function edit(subject, title) {
  const { limits } = await get(address(subject));
  dialog.dataset.subject = subject;
  by("limits-of").textContent = title;
  for (const row of form.querySelectorAll("[data-limit]")) {
    const isSettable = row.dataset.limit in limits;
    row.hidden = !isSettable;
    row.querySelector("input").value = limits[row.dataset.limit] ?? "";
  }
  by("limits-problem").hidden = true;
  dialog.showModal();
}

async function save() {
  const values = {};
  for (const row of form.querySelectorAll("[data-limit]:not([hidden])")) {
    const field = row.querySelector("input");
    values[field.name] = field.value === "" ? null : field.valueAsNumber;
  }
  await put(address(dialog.dataset.subject), values);
  location.reload();
}

function tell(id, error) {
  by(id).textContent = error.message;
  by(id).hidden = false;
}

document.addEventListener("click", (event) => {
  const { subject, title } = event.target.closest("button")?.dataset ?? {};
  if (subject) edit(subject, title).catch(showError);
});
by("other-subject")?.addEventListener("click", () => by("subject-dialog").showModal());
by("subject-form")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const subject = `${by("subject-kind").value}:${by("subject-name").value.trim()}`;
  edit(subject, subject).then(() => by("subject-dialog").close(), (error) => tell("subject-problem", error));
});
form?.addEventListener("submit", (event) => {
  event.preventDefault();
  save().catch((error) => tell("limits-problem", error));
});
