// One network in words: its figures and its choices.

import { h } from "./dom.js";
import { nameOf, shown } from "./format.js";

/** Returns the panel of a network; `arch` is absent for those beside the front. */
export function networkPanel({ trial, arch, units, remark, actions }) {
  const metrics = Object.entries(trial.metrics ?? {});
  return h("div", { class: "network" },
    h("h3", {}, h("code", {}, trial.digest),
      remark ? h("span", { class: "remark" }, remark) : null),
    h("dl", { class: "figures" }, metrics.map(([name, value]) =>
      h("div", {}, h("dt", {}, nameOf(name)), h("dd", {}, shown(name, value, units[name]))))),
    arch ? genes(arch)
      : h("p", { class: "help" }, "Choices are listed for networks on the front."),
    actions);
}

/** Returns the genes of an architecture, a line for each part of the network. */
function genes(arch) {
  const parts = new Map();
  for (const [gene, value] of Object.entries(arch)) {
    const cut = gene.lastIndexOf(".");
    const part = cut < 0 ? "network" : gene.slice(0, cut);
    if (!parts.has(part)) parts.set(part, []);
    parts.get(part).push(`${gene.slice(cut + 1)} ${value}`);
  }
  return h("div", { class: "genes", tabindex: "0", role: "region", "aria-label": "Choices" },
    h("table", {}, h("tbody", {}, [...parts].map(([part, values]) =>
      h("tr", {}, h("th", { scope: "row" }, part), h("td", {}, values.join(", ")))))));
}
