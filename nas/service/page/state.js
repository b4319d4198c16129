// States of jobs: a word, and a sign whose shape says the same as its colour.

import { h, s } from "./dom.js";

export const STATES = ["queued", "running", "done", "failed", "cancelled"];
export const isLive = (job) => job.state === "queued" || job.state === "running";

const SIGNS = {
  queued: ["M2 8a6 6 0 1 1 12 0a6 6 0 1 1-12 0", "sign hollow dashed"],
  running: ["M2 8a6 6 0 1 1 12 0a6 6 0 1 1-12 0M8 5a3 3 0 0 1 0 6z", "sign hollow"],
  done: ["M3 8.5l3.5 3.5L13 4.5", "sign hollow"],
  failed: ["M4 4l8 8M12 4l-8 8", "sign hollow"],
  cancelled: ["M2 8a6 6 0 1 1 12 0a6 6 0 1 1-12 0M4 12L12 4", "sign hollow"],
};

/** Returns the sign and the word of a job's state. */
export function badge(job) {
  const [path, shape] = SIGNS[job.state] ?? SIGNS.queued;
  const word = job.state === "running" && job.stop_request === "cancel" ? "stopping" : job.state;
  return h("span", { class: `state is-${job.state}` },
    s("svg", { viewBox: "0 0 16 16", class: shape, "aria-hidden": "true" },
      s("path", { d: path })), word);
}

/** Returns a bar with its numbers, or nothing where the total is not known. */
export function bar(done, total, label) {
  if (!total) return null;
  return h("progress", { value: Math.min(done, total), max: total, "aria-label": label });
}
