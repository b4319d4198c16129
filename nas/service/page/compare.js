// Up to four searches side by side: fronts in one picture, hypervolume curves, a table.

import { get } from "./api.js";
import { AxisChoice } from "./axes.js";
import { MOST } from "./chosen.js";
import { CurveChart } from "./curve.js";
import { h, refill } from "./dom.js";
import { comparedFacts } from "./compare_facts.js";
import { runCards } from "./compare_runs.js";
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
  let runs = [], looked = null;
  const cards = h("div", {});
  const axes = new AxisChoice(() => draw());
  const fronts = new FrontChart({ signal, onActive: look });
  const curves = new CurveChart({ signal });
  const panel = h("div", { class: "panel" });
  const note = h("p", { class: "help" });
  const facts = h("div", {});
  const none = h("div", {});
  const grid = h("div", { class: "grid overlay" },
    h("section", { class: "card full", "aria-labelledby": "fronts-title" },
      h("div", { class: "card-head" }, h("h2", { id: "fronts-title" }, "Fronts"), axes.node), note,
      h("div", { class: "beside" }, h("figure", {}, fronts.node), panel)),
    h("section", { class: "card full", "aria-labelledby": "curves-title" },
      h("h2", { id: "curves-title" }, "Hypervolume over validations"),
      h("p", { class: "help" }, "Each in the box between the worst and the best that it has seen "
        + "itself: the curves tell how soon a search was as good as it got, not which one is "
        + "better. That is in the picture of the fronts."), curves.node), facts);

  async function load() {
    runs = await Promise.all(ids.map(async (id) => {
      const [job, view] = await Promise.all([get(`jobs/${id}`, signal),
        get(`jobs/${id}/view`, signal)]);
      return { job, view };
    }));
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
    curves.show(runs.map(({ view }, at) => ({ name: series[at].name,
      values: view.hypervolume.values })));
    refill(facts, comparedFacts(runs));
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

function sharedObjectives(runs) {
  const [first, ...others] = runs.map(({ view }) => view.objectives);
  return first.filter(({ name }) =>
    others.every((objectives) => objectives.some((one) => one.name === name)));
}
