// Work that is done again and again while somebody looks.

import { Away } from "./api.js";

const LONGEST_MS = 15000;

/**
 * Runs `task` every `every()` milliseconds, from so many on, until the signal is aborted.
 *
 * Nothing runs while the page is hidden; when it is shown again, the task runs at once. While the
 * server is away the pauses double.
 */
export function poll(task, every, signal) {
  let timer, fails = 0, isBusy = false;

  async function turn() {
    if (isBusy || signal.aborted) return;
    clearTimeout(timer);
    isBusy = true;
    try {
      await task();
      fails = 0;
    } catch (error) {
      if (error instanceof Away) fails += 1;
      else if (!signal.aborted) throw error;
    } finally {
      isBusy = false;
      if (!signal.aborted && !document.hidden) timer = setTimeout(turn, pause());
    }
  }
  const pause = () => (fails ? Math.min(LONGEST_MS, 1000 * 2 ** (fails - 1)) : every());
  const shown = () => (document.hidden ? clearTimeout(timer) : turn());

  document.addEventListener("visibilitychange", shown, { signal });
  addEventListener("nas:retry", turn, { signal });
  addEventListener("online", turn, { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  timer = setTimeout(turn, pause());
}
