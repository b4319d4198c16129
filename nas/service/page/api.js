// Calls of the server. Addresses are relative, so that a proxy may put the page below a prefix.

const BASE = "api/v1/";

/** What the server refused: `message` is its sentence. */
export class ApiError extends Error {
  constructor(status, { code, message, field }, retryAfter) {
    super(message);
    Object.assign(this, { status, code, field: field ?? null, retryAfter });
  }
}

/** The server, or its database, did not answer. */
export class Away extends Error {
  name = "Away";
}

/** Tells of `away` (detail: the sentence), `back` and `login`. */
export const connection = new EventTarget();
let isAway = false;

/** Returns the error to throw where nobody has answered; unless quiet, `connection` tells of it. */
export function unanswered(message = "The server does not answer.", isQuiet = false) {
  if (isQuiet) return new Away(message);
  isAway = true;
  connection.dispatchEvent(new CustomEvent("away", { detail: message }));
  return new Away(message);
}

/** Notes that somebody has answered. */
export function answered() {
  if (!isAway) return;
  isAway = false;
  connection.dispatchEvent(new Event("back"));
}

/** Returns the address of a file or stream below the API. */
export const address = (path) => BASE + path;

/**
 * Returns the JSON of an answer.
 *
 * Throws an ApiError for what was refused, and Away where nobody answers; both are reported to
 * `connection`, so that callers only handle what is theirs.
 */
export async function call(method, path, { json, body, headers = {}, signal,
  isQuiet = false } = {}) {
  const init = { method, headers: { Accept: "application/json", ...headers }, signal, body };
  if (json !== undefined) {
    init.body = JSON.stringify(json);
    init.headers["Content-Type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(BASE + path, init);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw unanswered(undefined, isQuiet);
  }
  return taken(response.status, await textOf(response), response.headers.get("Retry-After"), path,
    isQuiet);
}

async function textOf(response) {
  try {
    return await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw unanswered("The server broke off its answer.");
  }
}

/** Returns the JSON of an answer's text, or throws what `call` throws. */
export function taken(status, text, retryAfter, path, isQuiet = false) {
  const found = parsed(text);
  if (status === 502 || status === 503 || status === 504) {
    throw unanswered(found?.error?.message ?? `The server is not ready (${status}).`, isQuiet);
  }
  answered();
  if (status >= 200 && status < 300) return found;
  const error = new ApiError(status, found?.error
    ?? { code: "unknown", message: `The server answered ${status}.` }, Number(retryAfter) || null);
  if (status === 401 && path !== "session") connection.dispatchEvent(new Event("login"));
  throw error;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null; // a proxy's page, or nothing at all
  }
}

export const get = (path, signal) => call("GET", path, { signal });
export const post = (path, json, headers) => call("POST", path, { json, headers });
