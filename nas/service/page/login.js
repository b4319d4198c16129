// The token of a person becomes the session cookie, which no script can read.

import { Away } from "./api.js";
import { h, refill } from "./dom.js";
import { title } from "./router.js";
import { logIn } from "./session.js";

export function loginView({ root, query }) {
  title("Log in");
  const token = h("input", { id: "token", type: "password", autocomplete: "current-password",
    spellcheck: "false", required: true, "aria-describedby": "token-help token-error" });
  const wrong = h("p", { id: "token-error", class: "wrong", role: "alert" });
  const button = h("button", { type: "submit", class: "primary" }, "Log in");

  async function submit(event) {
    event.preventDefault();
    refill(wrong);
    token.removeAttribute("aria-invalid");
    if (!token.value.trim()) return refuse("Give the token that an administrator made for you.");
    button.disabled = true;
    try {
      await logIn(token.value.trim());
      location.hash = `#/${query.get("next") ?? ""}`;
    } catch (error) {
      refuse(error instanceof Away ? `${error.message} Try again in a moment.` : error.message);
    } finally {
      button.disabled = false;
    }
  }

  function refuse(sentence) {
    refill(wrong, sentence);
    token.setAttribute("aria-invalid", "true");
    token.focus();
  }

  refill(root, h("div", { class: "card narrow" },
    h("h1", {}, "Log in"),
    h("form", { novalidate: true, onsubmit: submit },
      h("div", { class: "field" },
        h("label", { for: "token" }, "Token"), token,
        h("p", { id: "token-help", class: "help" }, "It begins with ", h("code", {}, "nas_"),
          ". Whoever runs the server makes one with ",
          h("code", {}, "nas serve token create NAME --role runner"), "."),
        wrong),
      button)));
  token.focus();
}
