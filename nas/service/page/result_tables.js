// Results that are a table and a picture: a comparison of searchers, a ranking.

import { address } from "./api.js";
import { h } from "./dom.js";
import { count, plural, significant } from "./format.js";

function picture(job, name, alt) {
  if (!(job.files ?? []).some((file) => file.name === name)) return null;
  return h("img", { class: "picture", src: address(`jobs/${job.id}/files/${name}`), alt,
    loading: "lazy" });
}

function grid(columns, rows) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Result" },
    h("table", {}, h("thead", {}, h("tr", {}, columns.map((name, at) =>
      h("th", { scope: "col", class: at ? "end" : null }, name)))),
    h("tbody", {}, rows.map(([name, ...cells]) => h("tr", {}, h("th", { scope: "row" }, name),
      cells.map((cell) => h("td", { class: "end" }, cell ?? "–")))))));
}

/** Returns the card of a comparison. */
export function comparisonResult(job) {
  const { searchers, seeds, counts } = job.result;
  const at = searchers[0].at.map(({ validations }) => `after ${count(validations)}`);
  const spread = seeds.length >= 3 ? "95 % interval" : "quartiles";
  return h("section", { class: "card" }, h("h2", {}, "Searchers side by side"),
    h("p", { class: "help" }, `Hypervolume, median of ${plural(seeds.length, "seed")} (${spread}). `
      + `${plural(counts.validated, "network")} validated once each, ${counts.failed} failed.`),
    grid(["Searcher", ...at, "Catches up at", "Wins"], searchers.map((row) => [row.searcher,
      ...row.at.map((one) => {
        const [low, high] = one.ci95 ?? one.quartiles;
        return `${one.median.toFixed(3)} (${low.toFixed(3)} … ${high.toFixed(3)})`;
      }), row.reaches_lowest, row.wins])),
    h("p", { class: "help" }, "Catches up: validations after which the median is where the lowest "
      + "one ends. Wins: seeds in which none ends higher."),
    picture(job, "compare.png", "Hypervolume of each searcher over the validations"));
}

/** Returns the card of a ranking. */
export function rankResult(job) {
  const { networks, against, proxies, best } = job.result;
  const two = (value) => (value === null ? null : value.toFixed(2).replace("-", "−"));
  return h("section", { class: "card" }, h("h2", {}, "How well the proxies rank"),
    h("p", { class: "help" }, `${plural(networks, "network")}, ${against ? `against ${against}`
      : "nothing to compare with"}.`),
    grid(["Proxy", "Spearman", "95 %", "Kendall", "Seconds each", "Unscored"], proxies.map((row) =>
      [row.name, two(row.spearman), row.ci95 && row.ci95.map(two).join(" … "), two(row.kendall),
        significant(row.seconds_per_arch), count(row.unscored)])),
    proxies.filter((row) => row.first_failure).map((row) =>
      h("p", { class: "help" }, `${row.name}: ${row.first_failure}`)),
    best.length ? [h("h3", {}, "Best by mean rank over the proxies"),
      grid(["Network", "Mean rank"], best.map((row) => [row.network, significant(row.mean_rank)]))]
      : null,
    picture(job, "rank.png", "Scores of each proxy against the truth"));
}
