// The live front of one search: picture, the network that is looked at, and a table.

import { h, refill } from "./dom.js";
import { plural } from "./format.js";
import { AxisChoice } from "./axes.js";
import { FrontChart } from "./front.js";
import { FrontTable } from "./front_table.js";
import { networkPanel } from "./network.js";
import { link } from "./router.js";
import { mayWrite } from "./session.js";
import { isLive } from "./state.js";

/** Returns the points of a view in two axes: `{seen, front}`, the latter by ascending x. */
export function pointsOf(view, x, y, prefix = "") {
  const seen = [], front = [];
  for (const trial of view.trials) {
    if (!trial.final || trial.error || !trial.metrics) continue;
    const point = { key: prefix + trial.digest, trial, x: x.name ? trial.metrics[x.name] : trial.id,
      y: trial.metrics[y.name] };
    if (!Number.isFinite(point.x) || !Number.isFinite(point.y)) continue;
    (trial.on_front ? front : seen).push(point);
  }
  return { seen, front: front.sort((a, b) => a.x - b.x || a.y - b.y) };
}

export class FrontCard {
  #job = null;
  #view = null;
  #key = null; // of the network in the panel
  #looked = ""; // what the panel was drawn for: a link in it may have the focus

  constructor({ signal }) {
    this.axes = new AxisChoice(() => this.#draw());
    this.chart = new FrontChart({ signal, onActive: (point) => this.#look(point) });
    this.table = new FrontTable((digest) => this.chart.activate(digest));
    this.lead = h("p", { class: "help" });
    this.panel = h("div", { class: "panel" });
    this.plot = h("figure", {}, this.chart.node, h("ul", { class: "legend" },
      h("li", { class: "key-seen" }, "validated"), h("li", { class: "key-front" }, "on the front"),
      h("li", { class: "key-chosen" }, "exported")));
    this.empty = h("p", { class: "empty" }, "No network has been validated yet.");
    this.beside = h("div", { class: "beside" }, this.plot, this.panel);
    this.node = h("section", { class: "card full", "aria-labelledby": "front-title" },
      h("div", { class: "card-head" }, h("h2", { id: "front-title" }, "Pareto front"),
        this.axes.node), this.lead, this.empty, this.beside, this.table.node);
  }

  update(job, view) {
    this.#job = job;
    this.#view = view;
    this.node.hidden = job.state === "queued" && !view.trials.length;
    this.#draw();
  }

  #draw() {
    const view = this.#view;
    this.axes.offer(view.objectives);
    const { x, y } = this.axes;
    const { seen, front } = pointsOf(view, x, y);
    const there = seen.length + front.length > 0;
    this.empty.hidden = there;
    this.beside.hidden = this.lead.hidden = !there;
    this.table.node.hidden = !front.length;
    const chosen = this.#chosen();
    const many = `${plural(seen.length + front.length, "validated network")}, ${front.length} `
      + "on the front";
    refill(this.lead, `${many}. Below and left is better`
      + `${view.objectives.length === 2 ? "; the shaded part is dominated" : ""}.`);
    this.chart.show({ series: [{ name: this.#job.title, seen, front, chosen }], x, y,
      label: `${many}. Arrow keys go along the front.`, rest: chosen ?? view.front[0] });
    this.table.show({ front, objectives: view.objectives, chosen });
    this.table.mark(this.#key);
    this.plot.querySelector(".key-chosen").hidden = !chosen;
  }

  #chosen() {
    return this.#job.result?.best?.digest ?? null;
  }

  #look(point) {
    this.#key = point?.key ?? null;
    this.table.mark(this.#key);
    if (!point) return;
    const { trial } = point;
    const looked = [point.key, trial.on_front, isLive(this.#job), this.#chosen()].join();
    if (looked === this.#looked) return;
    this.#looked = looked;
    const units = Object.fromEntries(this.#view.objectives.map(({ name, unit }) => [name, unit]));
    refill(this.panel, networkPanel({ trial, units, arch: this.#view.archs[trial.digest],
      remark: trial.digest === this.#chosen() ? "exported" : trial.on_front ? "on the front"
        : `validation ${trial.id}`,
      actions: mayWrite() && trial.on_front && !isLive(this.#job)
        ? h("p", {}, h("a", { class: "button", href: link("new", { kind: "export",
          job: this.#job.id, digest: trial.digest }) }, "Export this network")) : null }));
  }
}
