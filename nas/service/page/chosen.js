// The jobs that are ticked for a comparison; they stay ticked from page to page of the list.

import { h, refill } from "./dom.js";
import { plural } from "./format.js";
import { announce } from "./notice.js";
import { go } from "./router.js";

export const MOST = 4;

export class Chosen {
  #ids = new Set();
  #boxes = new Map();

  constructor() {
    this.node = h("div", { class: "picked", hidden: true, role: "region",
      "aria-label": "Comparison" });
  }

  /** Returns the check box of a job. */
  box(id) {
    const box = h("input", { type: "checkbox" });
    box.checked = this.#ids.has(id);
    box.addEventListener("change", () => {
      if (box.checked) this.#ids.add(id);
      else this.#ids.delete(id);
      this.#draw();
    });
    this.#boxes.set(id, box);
    this.#limit();
    return box;
  }

  #limit() {
    const isFull = this.#ids.size >= MOST;
    for (const box of this.#boxes.values()) box.disabled = isFull && !box.checked;
  }

  #draw() {
    this.#limit();
    const { size } = this.#ids;
    this.node.hidden = size === 0;
    refill(this.node, h("span", {}, `${plural(size, "job")} chosen`, size === MOST
      ? h("span", { class: "soft" }, ", no more fit") : null),
    h("button", { type: "button", class: "primary", disabled: size < 2,
      onclick: () => go("compare", { jobs: [...this.#ids].join(",") }) }, "Compare"),
    h("button", { type: "button", onclick: () => this.#clear() }, "Choose none"));
    announce(size < 2 ? "One job chosen; a comparison takes two to four." : `${size} jobs chosen.`);
  }

  #clear() {
    this.#ids.clear();
    for (const box of this.#boxes.values()) box.checked = false;
    this.node.hidden = true;
    this.#limit();
    document.querySelector("h1").focus();
  }
}
