// The hypervolume of one search.

import { CurveChart } from "./curve.js";
import { h, refill } from "./dom.js";
import { percent, plural, shown } from "./format.js";

export class CurveCard {
  constructor({ signal }) {
    this.chart = new CurveChart({ signal });
    this.lead = h("p", { class: "help" });
    this.node = h("section", { class: "card", "aria-labelledby": "curve-title" },
      h("h2", { id: "curve-title" }, "Hypervolume over validations"), this.lead, this.chart.node);
  }

  update(view) {
    const { values, reference } = view.hypervolume;
    this.node.hidden = !values.length; // two networks span a box, one does not
    if (!values.length) return;
    const [number, share] = values.at(-1);
    const corner = reference ? ` up to the worst of each objective (${reference.map((value, at) =>
      shown(view.objectives[at].name, value, view.objectives[at].unit)).join(", ")})` : "";
    refill(this.lead, `How much the front dominates${corner}: ${percent(share)} after `
      + `${plural(number, "validation")}. 100 % would be one network with the best of everything.`);
    this.chart.show([{ name: "hypervolume", values }]);
  }
}
