// The settings that a job was submitted with.

import { h, refill } from "./dom.js";
import { count } from "./format.js";
import { toText } from "./values.js";

export class ConfigCard {
  #drawn = false;

  constructor() {
    this.list = h("dl", { class: "settings" });
    this.node = h("section", { class: "card", "aria-labelledby": "config-title" },
      h("h2", { id: "config-title" }, "Settings"), this.list);
  }

  update(job) {
    if (this.#drawn || !job.config) return; // they never change
    this.#drawn = true;
    const given = Object.entries(job.config).filter(([, value]) => isGiven(value));
    refill(this.list, given.map(([name, value]) =>
      h("div", {}, h("dt", {}, name.replaceAll("_", " ")), h("dd", {}, text(value)))));
  }
}

function isGiven(value) {
  if (value === null || value === false || value === "") return false;
  return typeof value !== "object" || Object.keys(value).length > 0;
}

/** Returns a setting as people read it. */
export function text(value) {
  if (value === true) return "yes";
  return typeof value === "number" && value >= 10000 ? count(value) : toText(value);
}
