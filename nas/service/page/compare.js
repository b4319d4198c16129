// Up to four searches side by side: fronts in one picture, hypervolume curves, a table.

import { get } from "./api.js";
import { AxisChoice } from "./axes.js";
import { MOST } from "./chosen.js";
import { CurveChart } from "./curve.js";
import { h, refill } from "./dom.js";
import { comparedFacts } from "./compare_facts.js";
import { runCards } from "./compare_runs.js";
import { shown } from "./format.js";
import { FrontChart } from "./front.js";
import { pointsOf } from "./front_card.js";
import { networkPanel } from "./network.js";
import { problem } from "./notice.js";
import { poll } from "./poll.js";
import { title } from "./router.js";
import { isLive } from "./state.js";

const LIVE_MS = 3000, IDLE_MS = 60000;

export async function compareView({ root, query, signal }) {
  title("Compare");
  const ids = [...new Set((query.get("jobs") ?? "").split(",").filter(Boolean))].slice(0, MOST);
  let runs = [], together = null, looked = null;
  const cards = h("div", {});
  const axes = new AxisChoice(() => draw());
  const fronts = new FrontChart({ signal, onActive: look });
  const curves = new CurveChart({ signal });
  const panel = h("div", { class: "panel" });
  const note = h("p", { class: "help" });
  const lead = h("p", { class: "help" });
  const facts = h("div", {});
  const none = h("div", {});
  const grid = h("div", { class: "grid overlay" },
    h("section", { class: "card full", "aria-labelledby": "fronts-title" },
      h("div", { class: "card-head" }, h("h2", { id: "fronts-title" }, "Fronts"), axes.node), note,
      h("div", { class: "beside" }, h("figure", {}, fronts.node), panel)),
    h("section", { class: "card full", "aria-labelledby": "curves-title" },
      h("h2", { id: "curves-title" }, "Hypervolume over validations"), lead, curves.node), facts);

  async function load() {
    const one = async (id) => {
      const [job, view] = await Promise.all([get(`jobs/${id}`, signal),
        get(`jobs/${id}/view`, signal)]);
      return { job, view };
    };
    [together, ...runs] = await Promise.all([get(`compare?jobs=${ids.join(",")}`, signal),
      ...ids.map(one)]);
    draw();
  }

  function draw() {
    const shared = runs.length ? sharedObjectives(runs) : [];
    axes.offer(shared);
    const { x, y } = axes;
    grid.hidden = !runs.length || !shared.length;
    refill(none, runs.length && !shared.length
      ? problem("These searches have no objective in common, so there is no picture of them.")
      : null);
    if (grid.hidden) return;
    const series = runs.map(({ job, view }) => ({ name: `${job.number}: ${job.title}`,
      chosen: job.result?.best ? `${job.id}:${job.result.best.digest}` : null,
      ...pointsOf(view, x, y, `${job.id}:`) }));
    const [first] = series;
    refill(note, "Below and left is better. Large: on a front; outlined: exported.");
    fronts.show({ series, x, y, label: `${series.map(({ name, front }) =>
      `${name}, ${front.length} on the front`).join("; ")}. Arrow keys go along the fronts.`,
      rest: first.chosen ?? first.front.at(-1)?.key });
    curves.show(runs.map(({ job }, at) => ({ name: series[at].name,
      values: together.runs[job.id] ?? [] })));
    refill(lead, boxOf(together));
    refill(facts, comparedFacts(runs, together));
  }

  function look(point) {
    if (!point || point.key === looked) return;
    looked = point.key;
    const { view } = runs[point.at];
    refill(panel, networkPanel({ trial: point.trial, arch: view.archs[point.trial.digest],
      units: Object.fromEntries(view.objectives.map(({ name, unit }) => [name, unit])),
      remark: point.series.name }));
  }

  facts.className = "full";
  refill(root, h("div", { class: "heading" }, h("h1", {}, "Compare searches")), cards, none, grid);
  if (ids.length) await load();
  else grid.hidden = true;
  const { jobs } = await get("jobs?kind=search&limit=200", signal);
  refill(cards, runCards(runs.map(({ job }) => job), jobs));
  if (ids.length) {
    poll(load, () => (runs.some(({ job }) => isLive(job)) ? LIVE_MS : IDLE_MS), signal);
  }
}

/** Returns what the hypervolumes are measured by. */
function boxOf({ objectives, reference }) {
  if (!reference) return "There are too few networks yet.";
  const worst = reference.map((value, at) =>
    shown(objectives[at].name, value, objectives[at].unit));
  return `How much each front dominates up to the worst of each objective in all of them `
    + `(${worst.join(", ")}). 100 % would be one network with the best of everything.`;
}

function sharedObjectives(runs) {
  const [first, ...others] = runs.map(({ view }) => view.objectives);
  return first.filter(({ name }) =>
    others.every((objectives) => objectives.some((one) => one.name === name)));
}
