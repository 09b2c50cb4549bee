// Short messages in the corner of the page. Text only: nothing that a server or a model says is markup.
/* global bootstrap */
import { translate } from "./words.js";

const LOOKS = { good: "text-bg-success", bad: "text-bg-danger", plain: "text-bg-secondary" };

export function toast(text, look = "plain") {
  const element = document.createElement("div");
  element.className = `toast align-items-center border-0 ${LOOKS[look] ?? LOOKS.plain}`;
  element.setAttribute("role", look === "bad" ? "alert" : "status");
  const row = document.createElement("div");
  row.className = "d-flex";
  const body = document.createElement("div");
  body.className = "toast-body break";
  body.textContent = text;
  const close = document.createElement("button");
  close.type = "button";
  close.className = "btn-close btn-close-white me-2 m-auto";
  close.dataset.bsDismiss = "toast";
  close.setAttribute("aria-label", translate("Close"));
  row.append(body, close);
  element.append(row);
  document.getElementById("toasts").append(element);
  element.addEventListener("hidden.bs.toast", () => element.remove());
  new bootstrap.Toast(element, { delay: look === "bad" ? 10000 : 4000 }).show();
}

export function showError(error) {
  if (error.name === "AbortError") return;
  const id = error.requestId ? ` (${translate("request")} ${error.requestId})` : "";
  toast(`${error.message}${id}`, "bad");
}
