// The figures of compared searches as a table: what was asked for where it differs, what was found.

import { h } from "./dom.js";
import { count, duration, nameOf, percent, shown } from "./format.js";
import { swatch } from "./compare_runs.js";
import { text } from "./config_card.js";

/** Returns the card with the table; `together` is the server's comparison. */
export function comparedFacts(runs, together) {
  const objectives = new Map(runs.flatMap(({ view }) =>
    view.objectives.map((objective) => [objective.name, objective])));
  const rows = [
    ["validated", runs.map(({ view }) => exit(view, "evaluated"))],
    ["failed", runs.map(({ view }) => exit(view, "failed"))],
    ["on the front", runs.map(({ view }) => count(view.front.length))],
    ...[...objectives.values()].map((objective) => lowest(objective, runs)),
    hypervolumes(runs, together),
    ...tested(runs),
    ["ran", runs.map(({ job }) => (job.ran_s ? duration(job.ran_s) : "–"))],
  ];
  const settings = differing(runs.map(({ job }) => job.config ?? {}));
  return h("section", { class: "card" }, h("h2", {}, "Figures"),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Figures" },
      h("table", { class: "facts-table" },
        h("thead", {}, h("tr", {}, h("td", {}), runs.map(({ job }, at) =>
          h("th", { scope: "col", class: `series-${at}` }, swatch(at),
            `${job.number}: ${job.title}`)))),
        h("tbody", {}, rows.map(([name, cells, best]) => row(name, cells, best)),
          settings.map(([name, cells]) => row(name, cells, null, "differs"))))),
    h("p", { class: "help" }, settings.length ? "Shaded: settings in which they differ."
      : runs.length > 1 ? "They have the same settings." : ""));
}

// Of a comparison there are none.
const exit = (view, name) => (view.exits ? count(view.exits[name]) : "–");

const row = (name, cells, best = null, kind = null) => h("tr", { class: kind },
  h("th", { scope: "row" }, name),
  cells.map((cell, at) => h("td", { class: at === best ? "best" : null }, cell)));

/** Returns the row of the last hypervolumes, and which run has the largest. */
function hypervolumes(runs, together) {
  const shares = runs.map(({ job }) => together.runs[job.id]?.at(-1)?.[1] ?? null);
  const there = shares.filter((share) => share !== null);
  return ["hypervolume", shares.map((share) => (share === null ? "–" : percent(share))),
    there.length > 1 ? shares.indexOf(Math.max(...there)) : null];
}

/** Returns the row of the lowest value of an objective, and which run has it. */
function lowest({ name, unit }, runs) {
  const values = runs.map(({ view }) => view.trials.filter((trial) => trial.final && trial.metrics
    && Number.isFinite(trial.metrics[name])).reduce((best, { metrics }) =>
    (best === null || metrics[name] < best ? metrics[name] : best), null));
  const there = values.filter((value) => value !== null);
  const best = there.length > 1 ? values.indexOf(Math.min(...there)) : null;
  return [`lowest ${nameOf(name)}`, values.map((value) => shown(name, value, unit)), best];
}

function tested(runs) {
  const found = runs.map(({ job }) => job.result?.best);
  if (!found.some(Boolean)) return [];
  const unit = (at) => runs[at].job.result.quality?.unit;
  return [["test error of the exported", found.map((best, at) =>
    (best ? shown("error", best.test.error, unit(at)) : "–"))],
  ["measured latency of it", found.map((best) =>
    (best?.measured_latency_ms ? shown("latency_ms", best.measured_latency_ms) : "–"))]];
}

/** Returns the settings in which runs differ: `[name, cells]`. */
function differing(configs) {
  const names = [...new Set(configs.flatMap((config) => Object.keys(config)))];
  return names.map((name) => [name.replaceAll("_", " "),
    configs.map((config) => text(config[name]) || "–")])
    .filter(([, cells]) => new Set(cells).size > 1);
}
