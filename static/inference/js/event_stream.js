// Server-Sent Events of a POST, which the browser's own EventSource cannot read; and their resumption.
import { ApiError, failure, headers } from "../../llamagpu/js/api.js";
import { translate } from "../../llamagpu/js/words.js";

const MAX_RESUMES = 8;

async function* frames(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    while (true) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += value;
      const parts = rest.split("\n\n");
      rest = parts.pop();
      for (const part of parts) {
        const frame = { event: "", id: "", data: "" };
        for (const line of part.split("\n")) {
          const at = line.indexOf(": ");
          if (at > 0) frame[line.slice(0, at)] = line.slice(at + 2);
        }
        if (frame.data) yield frame;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function open(path, options) {
  const response = await fetch(path, { credentials: "same-origin", ...options });
  if (!response.ok) throw await failure(response);
  return response;
}

const isEnd = (frame) => frame.event === "error" || JSON.parse(frame.data).is_complete;

// Yields {event, data} of a job until its end, across cut connections. `onJob` gets the job's id.
async function* follow(first, jobId, signal) {
  let response = first;
  let cursor = "";
  for (let resumes = 0; ; resumes += 1) {
    try {
      response ??= await open(`/api/jobs/${jobId}/events${cursor ? `?cursor=${cursor}` : ""}`, {
        headers: { ...headers(), Accept: "text/event-stream" },
        signal,
      });
      for await (const frame of frames(response.body)) {
        cursor = frame.id || cursor;
        yield { event: frame.event, data: JSON.parse(frame.data) };
        if (isEnd(frame)) return;
      }
    } catch (error) {
      if (error.name === "AbortError" || error instanceof ApiError) throw error;
    }
    if (resumes === MAX_RESUMES) throw new ApiError(0, { message: translate("The connection was lost.") });
    await new Promise((resolve) => setTimeout(resolve, 500 * 2 ** Math.min(resumes, 4)));
    response = null;
  }
}

export async function* generate(body, { signal, onJob }) {
  const response = await open("/api/stream_infer", {
    method: "POST",
    headers: { ...headers("POST"), Accept: "text/event-stream", "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
  const jobId = response.headers.get("X-Job-ID");
  onJob?.(jobId);
  yield* follow(response, jobId, signal);
}

export const resume = (jobId, { signal } = {}) => follow(null, jobId, signal);
