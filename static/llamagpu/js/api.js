// Calls of the portal's own API with the session of this page.
import { translate } from "./words.js";

export class ApiError extends Error {
  constructor(status, { code = "", message = "", details = [] } = {}, requestId = "", retryAfter = null) {
    super(message || translate("The server answered with {status}.", { status }));
    this.status = status;
    this.code = code;
    this.details = details ?? [];
    this.requestId = requestId;
    this.retryAfter = retryAfter;
  }
}

const csrfToken = () =>
  document.cookie
    .split("; ")
    .map((pair) => pair.split("="))
    .find(([name]) => name === "csrftoken" || name.endsWith("csrftoken"))?.[1] ??
  document.querySelector("input[name=csrfmiddlewaretoken]")?.value ??
  "";

export const headers = (method = "GET") => ({
  Accept: "application/json",
  ...(method === "GET" || method === "HEAD" ? {} : { "X-CSRFToken": csrfToken() }),
});

export async function failure(response) {
  let body = {};
  try {
    body = await response.json();
  } catch {
    // Not ours: a proxy's page, or nothing at all.
  }
  const retry = Number(response.headers.get("Retry-After"));
  return new ApiError(response.status, body.error, body.request_id, Number.isFinite(retry) && retry > 0 ? retry : null);
}

// Raises ApiError; status 0: the server was not reached.
export async function call(method, path, body, { signal } = {}) {
  const options = { method, headers: headers(method), credentials: "same-origin", signal };
  if (body instanceof FormData) options.body = body;
  else if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { message: translate("The server cannot be reached.") });
  }
  if (!response.ok) throw await failure(response);
  if (response.status === 204 || response.headers.get("Content-Length") === "0") return null;
  return response.json();
}

export const get = (path, options) => call("GET", path, undefined, options);
export const post = (path, body, options) => call("POST", path, body, options);
export const patch = (path, body, options) => call("PATCH", path, body, options);
export const put = (path, body, options) => call("PUT", path, body, options);
export const remove = (path, options) => call("DELETE", path, undefined, options);
