// The networks on the front as a table, best in the first objective first.

import { h, refill } from "./dom.js";
import { nameOf, shown } from "./format.js";

const COUNTS = ["params", "macs"];
const FEW = 12;

export class FrontTable {
  #isWhole = false;
  #last = null;

  constructor(onPick) {
    this.onPick = onPick;
    this.head = h("tr", {});
    this.body = h("tbody", {});
    this.more = h("button", { type: "button", onclick: () => {
      this.#isWhole = !this.#isWhole;
      this.show(this.#last);
    } });
    this.node = h("div", {},
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Front as a table" },
        h("table", { class: "figures-table" }, h("thead", {}, this.head), this.body)), this.more);
  }

  show(data) {
    this.#last = data;
    const { front, objectives, chosen } = data;
    const focused = this.body.contains(document.activeElement)
      ? document.activeElement.closest("tr").dataset.key : null;
    const names = objectives.map(({ name }) => name);
    const metrics = [...names, ...COUNTS.filter((name) => !names.includes(name)
      && front.every(({ trial }) => Number.isFinite(trial.metrics[name])))];
    const units = Object.fromEntries(objectives.map(({ name, unit }) => [name, unit]));
    const rows = [...front].sort((a, b) =>
      a.trial.metrics[names[0]] - b.trial.metrics[names[0]]);
    refill(this.head, h("th", { scope: "col" }, "Network"),
      metrics.map((name) => h("th", { scope: "col", class: this.#kind(name) }, nameOf(name))));
    refill(this.body, rows.slice(0, this.#isWhole ? rows.length : FEW).map((point) =>
      this.#row(point, metrics, units, chosen)));
    this.more.hidden = rows.length <= FEW;
    this.more.textContent = this.#isWhole ? `The first ${FEW}` : `All ${rows.length}`;
    if (focused) this.body.querySelector(`[data-key="${CSS.escape(focused)}"] button`)?.focus();
  }

  /** Marks the row of the network that is looked at. */
  mark(key) {
    for (const row of this.body.rows) row.classList.toggle("is-active", row.dataset.key === key);
  }

  #row(point, metrics, units, chosen) {
    const { trial, key } = point;
    const pick = () => this.onPick(key);
    return h("tr", { "data-key": key, class: key === chosen ? "is-chosen" : null,
      onpointerenter: pick },
    h("th", { scope: "row" }, h("button", { type: "button", class: "plain", onclick: pick,
      onfocus: pick }, h("code", {}, trial.digest)),
    key === chosen ? h("span", { class: "remark" }, "exported") : null),
    metrics.map((name) => h("td", { class: this.#kind(name) },
      shown(name, trial.metrics[name], units[name]))));
  }

  /** Returns the class of a column: on a phone there is only room for the objectives. */
  #kind(name) {
    const isObjective = this.#last.objectives.some((objective) => objective.name === name);
    return isObjective ? "end" : "end roomy";
  }
}
