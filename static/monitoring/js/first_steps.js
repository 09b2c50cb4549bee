// The guide of the first days: which steps are done is seen, not asked. Who dismisses it keeps it away.
import { get } from "../../llamagpu/js/api.js";

const panel = document.getElementById("first-steps");
const KEPT = `llamagpu-first-steps-${document.body.dataset.user}`;
const EVERY = 4000;

const isDismissed = () => {
  try {
    return localStorage.getItem(KEPT) === "dismissed";
  } catch {
    return false;
  }
};

function mark(step, isDone) {
  const item = panel.querySelector(`[data-step=${step}]`);
  item.classList.toggle("done", isDone);
  item.querySelector("i").className = `bi ${isDone ? "bi-check-circle-fill" : "bi-circle"}`;
}

async function look() {
  if (panel.dataset.dismissed) return;
  try {
    const [jobs, keys] = await Promise.all([get("/api/jobs?limit=50"), get("/api/keys")]);
    const isByKey = jobs.results.some((job) => job.key);
    const steps = {
      playground: jobs.results.some((job) => !job.key && job.is_streamed),
      key: keys.results.length > 0,
      curl: isByKey,
    };
    for (const [step, isDone] of Object.entries(steps)) mark(step, isDone);
    panel.hidden = Object.values(steps).every(Boolean) && panel.hidden;
    if (Object.values(steps).every(Boolean)) return;
  } catch {
    // No right to ask, or away: the guide waits.
    return;
  }
  setTimeout(look, EVERY);
}

export function begin() {
  if (!panel || isDismissed()) return;
  document.getElementById("dismiss-steps").addEventListener("click", () => {
    panel.hidden = true;
    panel.dataset.dismissed = "true";
    try {
      localStorage.setItem(KEPT, "dismissed");
    } catch {
      // The browser keeps nothing for us: it comes again with the next page.
    }
  });
  look();
}
