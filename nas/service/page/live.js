// Follows one job: its stream tells that something happened, the server's view what it means.

import { address, get } from "./api.js";
import { poll } from "./poll.js";
import { isLive } from "./state.js";

const GAP_MS = 800; // between two views while trials come in
const CHECK_MS = { live: 10000, ended: 30000 }; // in case the stream is silent for another reason

/**
 * Loads a job and its view, and again for as long as it changes.
 *
 * `onChange(job, view)` is called with each; `onStages(view)` where only bars have moved. Returns
 * `{loaded, refresh}`: a promise of the first time, and a function that loads at once.
 */
export function follow(id, { onChange, onStages, signal }) {
  let job = null, view = null, stream = null, timer = null, tookMs = 0;

  async function refresh() {
    const began = performance.now();
    [job, view] = await Promise.all([get(`jobs/${id}`, signal), get(`jobs/${id}/view`, signal)]);
    tookMs = performance.now() - began;
    onChange(job, view);
    if (isLive(job)) open();
    else close();
  }

  function open() {
    const isOpen = stream && stream.readyState !== EventSource.CLOSED;
    if (isOpen || document.hidden || signal.aborted) return;
    stream = new EventSource(address(`jobs/${id}/events?after=${view.seq}`));
    stream.addEventListener("progress", ({ data }) => move(JSON.parse(data)));
    stream.addEventListener("trial", soon);
    stream.addEventListener("state", soon);
  }

  function close() {
    stream?.close(); // or the browser would ask again for a stream that has ended
    stream = null;
  }

  function move({ stage, done, total, note }) {
    const known = view.stages.find((one) => one.stage === stage);
    if (known) Object.assign(known, { done, total, note });
    else view.stages.push({ stage, done, total, note });
    onStages(view);
  }

  function soon() {
    timer ??= setTimeout(async () => {
      timer = null;
      if (!signal.aborted) await checked();
    }, Math.max(GAP_MS, 4 * tookMs));
  }

  document.addEventListener("visibilitychange", () => document.hidden && close(), { signal });
  signal.addEventListener("abort", () => {
    clearTimeout(timer);
    close();
  });
  const checked = () => refresh().catch((error) => {
    if (!signal.aborted && error.name !== "Away") throw error; // the next check says more
  });
  const loaded = refresh().then(() =>
    poll(refresh, () => CHECK_MS[isLive(job) ? "live" : "ended"], signal));
  return { loaded, refresh };
}
