// What became of the networks that were drawn: where they left, cheapest stage first.

import { h, refill } from "./dom.js";
import { count, percent } from "./format.js";

export class Exits {
  constructor() {
    this.body = h("tbody", {});
    this.node = h("section", { class: "card", "aria-labelledby": "exits-title" },
      h("h2", { id: "exits-title" }, "Where networks left"),
      h("p", { class: "help" }, "Early exits cost next to nothing; what passes them is validated."),
      h("table", { class: "funnel" }, h("thead", { class: "unseen" }, h("tr", {},
        ["Stage", "Share", "Networks"].map((name) => h("th", { scope: "col" }, name)))),
      this.body));
  }

  update(exits) {
    const { sampled, evaluated, failed, partial } = exits;
    this.node.hidden = !sampled;
    const rows = [["drawn", sampled, "seen"],
      ...Object.entries(exits.early_exits).map(([stage, left]) =>
        [`left at ${stage}`, left, "seen"]),
      ...(partial ? [["validated in part", partial, "seen"]] : []),
      ["validated", evaluated, "good"], ...(failed ? [["failed", failed, "bad"]] : [])];
    const most = Math.max(1, ...rows.map(([, number]) => number));
    refill(this.body, rows.map(([name, number, kind]) => h("tr", {},
      h("th", { scope: "row" }, name),
      h("td", { class: "wide" }, h("meter", { class: kind, min: 0, max: most, value: number,
        "aria-hidden": "true" }, "")),
      h("td", { class: "end" }, count(number), h("span", { class: "soft share" },
        sampled ? percent(number / sampled) : "")))));
  }
}
