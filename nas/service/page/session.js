// Who is logged in, and what they may do. The server decides; the page only hides what it refuses.

import { call, get } from "./api.js";
import { h, refill } from "./dom.js";

let me = null;

export const user = () => me;
export const mayWrite = () => me !== null && me.role !== "viewer";
export const isAdmin = () => me?.role === "admin";

/** Asks who is logged in. */
export async function loadMe() {
  show(await get("me"));
}

/** Exchanges a token for the session cookie. */
export async function logIn(token) {
  await call("POST", "session", { headers: { Authorization: `Bearer ${token}` } });
  await loadMe();
}

export async function logOut() {
  await call("DELETE", "session");
  forget();
}

/** Shows nobody as logged in. */
export function forget() {
  show(null);
}

function show(found) {
  me = found;
  refill(document.getElementById("who"), me && h("span", { class: "user" }, me.user),
    me && h("span", { class: "soft role" }, ` ${me.role}`));
  document.getElementById("log-out").hidden = me?.auth !== "token";
  document.getElementById("nav-new").hidden = !mayWrite();
  const server = me?.server;
  document.getElementById("version").textContent = server
    ? `nas-service ${server.version} · ${server.slots} ${server.slots === 1 ? "slot" : "slots"}`
      + `${server.ray ? " · Ray" : ""} ·` : "";
}
