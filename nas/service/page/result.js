// What a finished job found, by its kind.

import { h, refill } from "./dom.js";
import { pruneResult } from "./result_prune.js";
import { comparisonResult, rankResult } from "./result_tables.js";
import { link } from "./router.js";
import { mayWrite } from "./session.js";
import { count, nameOf, shown, significant } from "./format.js";

export class ResultCard {
  #drawn = false;

  constructor() {
    this.node = h("div", { class: "full", hidden: true });
  }

  update(job) {
    if (job.state !== "done" || !job.result) {
      this.node.hidden = true;
      this.#drawn = false;
      return;
    }
    if (this.#drawn) return;
    this.#drawn = true;
    this.node.hidden = false;
    refill(this.node, content(job));
  }
}

function content(job) {
  const { result } = job;
  if (job.kind === "search") {
    return job.config.compare?.length ? comparisonResult(job) : searchTiles(result);
  }
  if (job.kind === "rank") return rankResult(job);
  if (job.kind === "prune") return pruneResult(result);
  if (job.kind === "import") return profileTiles(result);
  return exportTiles(result);
}

/** Returns a row of main figures: `[value, name, note]` each. */
export function tiles(entries) {
  return h("ul", { class: "tiles" }, entries.filter(Boolean).map(([value, name, note]) =>
    h("li", {}, h("b", {}, value), h("span", {}, name), note ? h("small", {}, note) : null)));
}

function searchTiles({ best, quality, counts, device, stopped }) {
  const { unit, name, inputs } = quality;
  const { metrics } = best;
  return [tiles([
    [shown("error", best.test.error, unit), `test ${name}`, `${inputs} no search saw`],
    [shown("error", metrics.error, unit), `validation ${name}`],
    best.measured_latency_ms ? [shown("latency_ms", best.measured_latency_ms), "measured latency",
      "of the exported file"] : null,
    [shown("latency_ms", metrics.latency_ms), `${device.kind === "estimated" ? "estimated"
      : "predicted"} latency`, `on ${device.id}`],
    ...["params", "macs", "kv_bytes"].filter((metric) => metric in metrics).map((metric) =>
      [shown(metric, metrics[metric]), nameOf(metric), "exact count"]),
    [count(counts.evaluated), "validated", counts.failed ? `${counts.failed} failed` : null],
  ]), stopped ? h("p", { class: "help" }, `Stopped early: ${stopped}.`) : null];
}

function profileTiles({ profile, device, kind, space }) {
  return [tiles([[device, "device"], [kind, "latencies", `of ${space}`], [profile, "profile"]]),
    mayWrite() ? h("p", { class: "below" }, h("a", { class: "button",
      href: link("new", { device }) }, "Search for this device")) : null];
}

function exportTiles(result) {
  return tiles([
    [result.digest, "network"],
    result.test ? [shown("error", result.test.error, result.quality?.unit), "test error"] : null,
    result.onnx_max_abs_diff !== undefined ? [significant(result.onnx_max_abs_diff),
      "largest difference", "of ONNX from torch"] : null,
    result.int8 ? ["int8", "quantised file", "beside the fp32 one"] : null,
  ]);
}
