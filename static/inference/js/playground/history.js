// Conversations on the server: the list, and the writing of the open one after each turn.
import { get, post, put, remove } from "../../../llamagpu/js/api.js";
import { confirm } from "../../../llamagpu/js/dialog.js";
import { ago } from "../../../llamagpu/js/format.js";
import { showError } from "../../../llamagpu/js/toast.js";
import { translate } from "../../../llamagpu/js/words.js";

const list = document.getElementById("conversations");
const more = document.getElementById("more-conversations");
const forgetAll = document.getElementById("forget-all");
const nothing = document.getElementById("no-conversations");

export const isKept = document.getElementById("playground").dataset.keepsHistory === "true";

let openId = null;
let version = 0;
let pending = Promise.resolve();
let nextPage = null;

export function begin() {
  openId = null;
  version = 0;
}

// Writes follow each other, so that each carries the version that the one before has made.
export function save(content) {
  if (!isKept) return pending;
  const body = structuredClone(content);
  pending = pending
    .then(async () => {
      const answer = openId
        ? await put(`/api/conversations/${openId}`, { ...body, version })
        : await post("/api/conversations", body);
      openId = answer.conversation.id;
      version = answer.conversation.version;
      history.replaceState(null, "", `#${openId}`);
    })
    .catch(showError);
  return pending;
}

export async function load(id) {
  const { conversation } = await get(`/api/conversations/${id}`);
  openId = conversation.id;
  version = conversation.version;
  history.replaceState(null, "", `#${openId}`);
  return conversation;
}

function entry(row, onOpen) {
  const item = document.createElement("li");
  item.className = "list-group-item d-flex align-items-center gap-2";
  const open = document.createElement("button");
  open.type = "button";
  open.className = "btn btn-link text-start text-decoration-none p-0 flex-grow-1 break";
  open.textContent = row.title;
  const when = document.createElement("span");
  when.className = "d-block small text-body-secondary";
  when.textContent = `${ago(row.updated_at)}, ${row.model}`;
  open.append(when);
  open.addEventListener("click", () => onOpen(row.id));
  const forget = document.createElement("button");
  forget.type = "button";
  forget.className = "btn btn-sm btn-outline-danger";
  forget.setAttribute("aria-label", translate("Delete “{name}”", { name: row.title }));
  const icon = document.createElement("i");
  icon.className = "bi bi-trash";
  icon.setAttribute("aria-hidden", "true");
  forget.append(icon);
  forget.addEventListener("click", async () => {
    const said = await confirm({
      title: translate("Delete “{name}”?", { name: row.title }),
      text: translate("It cannot be undone."),
      action: translate("Delete"),
    });
    if (!said) return;
    await remove(`/api/conversations/${row.id}`).then(() => item.remove(), showError);
    showEmptiness();
  });
  item.append(open, forget);
  return item;
}

function showEmptiness() {
  const isEmpty = !list.children.length;
  nothing.hidden = !isEmpty;
  forgetAll.hidden = isEmpty;
}

async function showPage(address, onOpen) {
  const page = await get(address);
  list.append(...page.results.map((row) => entry(row, onOpen)));
  nextPage = page.next;
  more.hidden = !nextPage;
  showEmptiness();
}

export function connect(onOpen) {
  if (!isKept) return;
  document.getElementById("history").addEventListener("show.bs.offcanvas", () => {
    list.replaceChildren();
    pending.then(() => showPage("/api/conversations?limit=30", onOpen)).catch(showError);
  });
  more.addEventListener("click", () => showPage(nextPage, onOpen).catch(showError));
  forgetAll.addEventListener("click", async () => {
    const said = await confirm({
      title: translate("Delete all your conversations?"),
      text: translate("It cannot be undone."),
      action: translate("Delete all"),
    });
    if (!said) return;
    await remove("/api/conversations").then(() => list.replaceChildren(), showError);
    showEmptiness();
  });
}
