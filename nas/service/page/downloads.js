// The files of a job.

import { address } from "./api.js";
import { h, refill } from "./dom.js";
import { bytes } from "./format.js";

const SAID = {
  "report.html": "the report, with the network drawn", "pareto.json": "the front and the counts",
  "pareto.png": "the front as a picture", "study.journal": "the ledger, for Optuna",
  "config.toml": "all settings, for nas search --config", "result.json": "the result",
  "compare.json": "the comparison", "compare.png": "the comparison as a picture",
  "prune.json": "the result", "rank.png": "scores against the truth",
  "profile.json": "the latencies that it searched with",
};

export class Downloads {
  #drawn = "";

  constructor() {
    this.list = h("ul", { class: "files" });
    this.node = h("section", { class: "card", "aria-labelledby": "files-title", hidden: true },
      h("h2", { id: "files-title" }, "Files"), this.list);
  }

  update(job) {
    const files = job.files ?? [];
    const key = JSON.stringify([files, job.bundle]);
    if (key === this.#drawn) return; // a link may have the focus
    this.#drawn = key;
    this.node.hidden = !files.length && !job.bundle;
    refill(this.list, job.bundle ? h("li", {},
      h("a", { href: address(`jobs/${job.id}/bundle`), download: true }, "bundle.zip"),
      h("span", { class: "soft" }, "the network: ONNX, weights, manifest"), h("span", {})) : null,
    files.map(({ name, bytes: size }) => this.#file(job, name, size)));
  }

  #file(job, name, size) {
    const isPage = name.endsWith(".html");
    return h("li", {},
      h("a", { href: address(`jobs/${job.id}/files/${encodeURIComponent(name)}`),
        download: !isPage, target: isPage ? "_blank" : null, rel: isPage ? "noopener" : null },
      name, isPage ? h("span", { class: "unseen" }, " in a new tab") : null),
      h("span", { class: "soft" }, SAID[name] ?? ""), h("span", { class: "end" }, bytes(size)));
  }
}
