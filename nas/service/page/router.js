// Routes are `#/path?query`. A view is a function that fills `main`; its signal ends its work.

import { announce, problem } from "./notice.js";
import { Away } from "./api.js";
import { h, refill } from "./dom.js";

const RETRY_MS = 3000;
const main = document.getElementById("main");
let current = null; // {route, path, ended, update}

/** Returns the address of a route; empty values are left out of its query. */
export function link(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined
    && value !== "");
  const text = new URLSearchParams(given).toString().replaceAll("%2C", ",");
  return `#/${path}${text ? `?${text}` : ""}`;
}

/** Goes to a route. */
export function go(path, query) {
  location.hash = link(path, query);
}

/** Sets the title of the window. */
export function title(text) {
  document.title = `${text} · nas`;
}

/**
 * Shows the view of the address from now on.
 *
 * A route is `{name, pattern, view}`: the view is called with `{root, args, query, signal}` and may
 * return a function that takes another query, where only that has changed.
 */
export function start(routes) {
  const turn = () => show(routes);
  addEventListener("hashchange", turn);
  return turn();
}

function address() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { path: decodeURI(path).replace(/\/$/, ""), query: new URLSearchParams(query) };
}

async function show(routes) {
  const { path, query } = address();
  const route = routes.find(({ pattern }) => pattern.test(path));
  if (current?.update && current.route === route && current.path === path) {
    current.update(query);
    return;
  }
  const isFirst = current === null;
  current?.ended.abort();
  const mine = { route, path, ended: new AbortController(), update: null };
  current = mine;
  mark(route?.name);
  refill(main);
  scrollTo(0, 0);
  try {
    if (!route) missing();
    else {
      mine.update = await route.view({ root: main, args: route.pattern.exec(path).slice(1), query,
        signal: mine.ended.signal });
    }
  } catch (error) {
    if (mine !== current || error.name === "AbortError" || error.status === 401) return;
    failed(error, mine, routes);
  }
  if (mine === current) toHeading(isFirst);
}

function toHeading(isFirst) {
  const heading = main.querySelector("h1");
  heading?.setAttribute("tabindex", "-1");
  if (isFirst || main.contains(document.activeElement)) return; // a view chose its own place
  heading?.focus({ preventScroll: true });
}

function mark(name) {
  for (const anchor of document.querySelectorAll("[data-route]")) {
    if (anchor.dataset.route === name) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
}

function missing() {
  title("Not found");
  refill(main, h("h1", {}, "There is no such page"),
    h("p", {}, h("a", { href: "#/" }, "All jobs")));
}

function failed(error, mine, routes) {
  const again = () => {
    mine.ended.abort();
    current = null;
    return show(routes);
  };
  title("Not loaded");
  announce(error.message);
  refill(main, h("h1", {}, error.status === 404 ? "Not found" : "This cannot be shown now"),
    problem(error.message, h("a", { href: "#/" }, "All jobs"), " ",
      h("button", { type: "button", onclick: again }, "Try again")));
  if (!(error instanceof Away)) return;
  const { signal } = mine.ended;
  const timer = setTimeout(again, RETRY_MS);
  signal.addEventListener("abort", () => clearTimeout(timer));
  addEventListener("nas:retry", again, { signal });
}
