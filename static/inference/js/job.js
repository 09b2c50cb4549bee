// One job: the page shows its end as soon as it has come, and asks the same again when told to.
import { get, failure, headers } from "../../llamagpu/js/api.js";
import { showError } from "../../llamagpu/js/toast.js";

const PARAMETERS = [
  "max_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty",
  "frequency_penalty", "seed", "min_tokens",
];
const LIVE = ["queued", "running"];
const page = document.getElementById("job");

async function watch() {
  try {
    const { job } = await get(`/api/jobs/${page.dataset.job}`);
    if (!LIVE.includes(job.state)) {
      location.reload();
      return;
    }
  } catch {
    // Away for a moment: the next look tells.
  }
  setTimeout(watch, 2000);
}

const json = (id) => JSON.parse(document.getElementById(id).textContent);

async function runAgain() {
  const { prompt, params: words } = json("job-content");
  const params = json("job-params");
  const body = { resumable: true };
  if (prompt.text !== undefined) body.text = prompt.text;
  else body.messages = prompt.messages.map(({ role, content }) => ({ role, content }));
  for (const name of PARAMETERS) if (params[name] !== null && params[name] !== undefined) body[name] = params[name];
  if (words.stop?.length) body.stop = words.stop;
  body.model = (await get(`/api/jobs/${page.dataset.job}`)).job.model;
  const response = await fetch("/api/stream_infer", {
    method: "POST",
    headers: { ...headers("POST"), Accept: "text/event-stream", "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw await failure(response);
  location.assign(`/jobs/${response.headers.get("X-Job-ID")}`);
}

if (page.dataset.live === "true") setTimeout(watch, 1000);
document.getElementById("run-again")?.addEventListener("click", () => runAgain().catch(showError));
