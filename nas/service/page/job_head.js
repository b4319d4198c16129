// The top of a job: what it is, how it stands, and what can be done with it.

import { address, Away, post } from "./api.js";
import { confirmed } from "./dialog.js";
import { h, refill } from "./dom.js";
import { duration, moment } from "./format.js";
import { KINDS } from "./jobs_filter.js";
import { announce } from "./notice.js";
import { link } from "./router.js";
import { mayWrite } from "./session.js";
import { badge, isLive } from "./state.js";

export class JobHead {
  #drawn = null; // what the buttons were drawn for: they keep the focus as long as it is the same

  constructor(refresh) {
    this.refresh = refresh;
    this.title = h("h1", {});
    this.facts = h("p", { class: "facts" });
    this.actions = h("div", { class: "actions" });
    this.error = h("p", { class: "wrong box", role: "alert", hidden: true });
    this.failure = h("p", { class: "wrong", role: "alert" });
    this.node = h("div", { class: "job-head" },
      h("p", { class: "crumb" }, h("a", { href: "#/" }, "Jobs"), " / ", this.crumb = h("span", {})),
      h("div", { class: "heading" }, this.title, this.actions), this.facts, this.failure,
      this.error);
  }

  update(job) {
    this.job = job;
    this.title.textContent = job.title;
    this.crumb.textContent = `${job.number}`;
    const facts = [badge(job), KINDS[job.kind] ?? job.kind, job.user,
      `submitted ${moment(job.created)}`, job.ran_s ? `ran ${duration(job.ran_s)}` : null,
      job.ended ? `ended ${moment(job.ended)}` : null];
    refill(this.facts, facts.filter(Boolean).map((fact) => h("span", {}, fact)));
    this.#showError(job.state === "failed" ? job.error : null);
    const key = `${job.state} ${job.stop_request ?? ""} ${job.bundle}`;
    if (key !== this.#drawn) this.#drawActions(job);
    this.#drawn = key;
  }

  #showError(error) {
    const text = error?.message ?? "";
    if (this.error.textContent === text) return; // or it would be read out again
    this.error.textContent = text;
    this.error.hidden = !text;
  }

  #drawActions(job) {
    const held = this.actions.contains(document.activeElement);
    const button = (text, act, kind) => h("button", { type: "button", class: kind,
      onclick: act }, text);
    refill(this.actions,
      job.bundle ? h("a", { class: "button primary", download: true,
        href: address(`jobs/${job.id}/bundle`) }, "Download bundle") : null,
      mayWrite() && isLive(job) && job.stop_request !== "cancel"
        ? button("Cancel", () => this.#cancel(), "danger") : null,
      mayWrite() && ["failed", "cancelled"].includes(job.state)
        ? button("Resume", () => this.#act("resume", "queued again"), "primary") : null,
      mayWrite() ? h("a", { class: "button", href: link("new", { kind: job.kind, from: job.id }) },
        "Submit again") : null,
      job.kind === "search" ? h("a", { class: "button", href: link("compare", { jobs: job.id }) },
        "Compare") : null);
    if (held) this.title.focus(); // its button is gone
  }

  async #cancel() {
    const isSure = await confirmed({ question: `Cancel job ${this.job.number}?`,
      explanation: "It stops within seconds. What it has found so far is kept, and it can be "
        + "resumed.", yes: "Cancel the job", no: "Let it run" });
    if (isSure) await this.#act("cancel", "being cancelled");
  }

  async #act(what, said) {
    this.failure.textContent = "";
    try {
      this.update({ ...this.job, ...await post(`jobs/${this.job.id}/${what}`) });
      announce(`Job ${this.job.number} is ${said}.`);
      await this.refresh();
    } catch (error) {
      this.failure.textContent = error instanceof Away
        ? `${error.message} The job is as it was; try again.` : error.message;
    }
  }
}
