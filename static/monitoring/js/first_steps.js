// The guide of the first days: which steps are done is seen, not asked. Who dismisses it, or has done
// everything, keeps it away: the server, which draws it, is told by a cookie.
import { get } from "../../llamagpu/js/api.js";

const panel = document.getElementById("first-steps");
const EVERY = 4000;
const YEAR = 31536000;

let isDismissed = false;
let isNew = true;

function keepAway() {
  const secure = location.protocol === "https:" ? ";secure" : "";
  document.cookie = `${panel.dataset.kept}=done;path=/;max-age=${YEAR};samesite=lax${secure}`;
}

function mark(step, isDone) {
  const item = panel.querySelector(`[data-step=${step}]`);
  item.classList.toggle("done", isDone);
  item.querySelector("i").className = `bi ${isDone ? "bi-check-circle-fill" : "bi-circle"}`;
}

async function look() {
  if (isDismissed) return;
  // A page that nobody looks at asks nothing.
  if (!document.hidden) {
    try {
      const [jobs, keys] = await Promise.all([get("/api/jobs?limit=50"), get("/api/keys")]);
      const steps = {
        playground: jobs.results.some((job) => !job.key && job.is_streamed),
        key: keys.results.length > 0,
        curl: jobs.results.some((job) => job.key),
      };
      for (const [step, isDone] of Object.entries(steps)) mark(step, isDone);
      if (Object.values(steps).every(Boolean)) {
        keepAway();
        panel.hidden = isNew;
        return;
      }
      isNew = false;
    } catch {
      // No right to ask, or away: the guide waits.
      return;
    }
  }
  setTimeout(look, EVERY);
}

export function begin() {
  if (!panel) return;
  document.getElementById("dismiss-steps").addEventListener("click", () => {
    isDismissed = true;
    panel.hidden = true;
    keepAway();
  });
  look();
}
