// Which two objectives a picture of fronts shows.

import { h, refill } from "./dom.js";
import { axisLabel } from "./format.js";

/** Of one objective the other axis is the trial's number; of more than two there is a choice. */
export class AxisChoice {
  #objectives = [];
  #names = { x: null, y: null };

  constructor(onChange) {
    this.onChange = onChange;
    this.node = h("div", { class: "axes" });
  }

  /** Takes the objectives that there are; a choice that is still possible stays. */
  offer(objectives) {
    const names = objectives.map(({ name }) => name);
    if (names.join() === this.#objectives.map(({ name }) => name).join()) return;
    this.#objectives = objectives;
    this.#names.y = names.includes(this.#names.y) ? this.#names.y : names[0];
    this.#names.x = names.includes(this.#names.x) ? this.#names.x : names[1] ?? null;
    this.#draw();
  }

  get x() {
    return this.#of("x") ?? { name: null, unit: null, label: "validation" };
  }

  get y() {
    return this.#of("y") ?? { name: "error", unit: "%" };
  }

  #of(axis) {
    return this.#objectives.find(({ name }) => name === this.#names[axis]);
  }

  #draw() {
    refill(this.node, this.#objectives.length < 3 ? null
      : [this.#select("y", "Up"), this.#select("x", "to the right")]);
  }

  #select(axis, name) {
    const other = axis === "x" ? "y" : "x";
    const select = h("select", {}, this.#objectives.map((objective) =>
      h("option", { value: objective.name }, axisLabel(objective))));
    select.value = this.#names[axis];
    select.addEventListener("change", () => {
      if (select.value === this.#names[other]) { // both alike shows nothing: they change places
        this.#names[other] = this.#names[axis];
        this.node.querySelectorAll("select")[other === "y" ? 0 : 1].value = this.#names[other];
      }
      this.#names[axis] = select.value;
      this.onChange();
    });
    return h("label", { class: "inline" }, `${name} `, select);
  }
}
