// What a job has done: a bar for each stage.

import { h, refill } from "./dom.js";
import { count } from "./format.js";
import { bar } from "./state.js";

export class Stages {
  constructor() {
    this.list = h("ul", { class: "stages" });
    this.empty = h("p", { class: "help" });
    this.node = h("section", { class: "card full progress-card",
      "aria-labelledby": "stages-title" },
    h("h2", { id: "stages-title" }, "Progress"), this.empty, this.list);
  }

  update(job, stages) {
    refill(this.empty, stages.length ? null : {
      queued: "Waiting for a free slot.", running: "Starting.",
    }[job.state] ?? "It ended before its first step.");
    this.empty.hidden = stages.length > 0;
    while (this.list.children.length > stages.length) this.list.lastChild.remove();
    stages.forEach((stage, at) => {
      const row = this.list.children[at] ?? this.list.appendChild(h("li", {}));
      refill(row, h("b", {}, stage.stage),
        bar(stage.done, stage.total, `Progress of ${stage.stage}`) ?? h("span", {}),
        h("span", { class: "numbers" }, stage.total
          ? `${count(stage.done)} / ${count(stage.total)}` : count(stage.done)),
        h("span", { class: "soft note" }, stage.note));
    });
  }
}
