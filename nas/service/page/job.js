// One job: what it does, what it found, and what can be taken away.

import { ConfigCard } from "./config_card.js";
import { CurveCard } from "./curve_card.js";
import { h, refill } from "./dom.js";
import { Downloads } from "./downloads.js";
import { Exits } from "./exits.js";
import { FrontCard } from "./front_card.js";
import { JobHead } from "./job_head.js";
import { follow } from "./live.js";
import { announce } from "./notice.js";
import { ResultCard } from "./result.js";
import { title } from "./router.js";
import { Stages } from "./stages.js";
import { isLive } from "./state.js";

export async function jobView({ root, args: [id], signal }) {
  let cards = null, state = null;
  const { loaded, refresh } = follow(id, { signal, onChange: change,
    onStages: (view) => cards.stages.update(cards.job, view.stages) });

  function change(job, view) {
    title(`${job.title} – ${job.state}`);
    if (state && state !== job.state) announce(`Job ${job.number} is ${job.state}.`);
    state = job.state;
    cards ??= lay(root, job, { signal, refresh });
    cards.job = job;
    cards.grid.classList.toggle("is-ended", !isLive(job));
    cards.head.update(job);
    cards.stages.update(job, view.stages);
    cards.result.update(job);
    cards.downloads.update(job);
    cards.config.update(job);
    cards.front?.update(job, view);
    cards.curve?.update(view);
    cards.exits?.update(view.exits);
  }

  await loaded;
}

/** Returns the cards that a kind of job has, laid out. */
function lay(root, job, { signal, refresh }) {
  const isSearch = job.kind === "search"; // or a comparison, which has no exits and no one curve
  const cards = { head: new JobHead(refresh), stages: new Stages(), result: new ResultCard(),
    downloads: new Downloads(), config: new ConfigCard() };
  if (isSearch) cards.front = new FrontCard({ signal });
  if (isSearch && !job.config.compare?.length) {
    Object.assign(cards, { curve: new CurveCard({ signal }), exits: new Exits() });
  }
  const nodes = (...shown) => shown.filter(Boolean).map(({ node }) => node);
  cards.grid = h("div", { class: "grid" }, nodes(cards.stages, cards.result, cards.front),
    h("div", { class: "column" }, nodes(cards.curve, cards.downloads)),
    h("div", { class: "column" }, nodes(cards.exits, cards.config)));
  refill(root, cards.head.node, cards.grid);
  return cards;
}
