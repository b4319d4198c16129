// What the page says beside its views: the banner, and announcements for screen readers.

import { connection } from "./api.js";
import { h, refill } from "./dom.js";

const banner = document.getElementById("banner");
const live = document.getElementById("live");

/** Has a screen reader say a sentence. */
export function announce(text) {
  live.textContent = text;
}

/** Shows the banner while the server is away. */
export function watchConnection() {
  connection.addEventListener("away", ({ detail }) => {
    if (!banner.hidden && banner.firstChild?.textContent === detail) return;
    refill(banner, h("span", {}, detail), h("span", { class: "soft" }, " Trying again. "),
      h("button", { type: "button", onclick: () => dispatchEvent(new Event("nas:retry")) },
        "Try now"));
    banner.hidden = false;
  });
  connection.addEventListener("back", () => {
    banner.hidden = true;
    refill(banner);
    announce("The server answers again.");
  });
}

/** Returns a card that says why a view cannot be shown, with a way on. */
export function problem(message, ...ways) {
  return h("div", { class: "empty", role: "alert" }, h("p", {}, message),
    ways.length ? h("p", {}, ...ways) : null);
}
