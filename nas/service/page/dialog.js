// A question before something that cannot be taken back. Escape answers no.

import { h, newId } from "./dom.js";

/** Returns whether the reader said yes. */
export function confirmed({ question, explanation, yes, no }) {
  return new Promise((resolve) => {
    const title = newId("question");
    const dialog = h("dialog", { "aria-labelledby": title },
      h("h2", { id: title }, question), h("p", {}, explanation),
      h("div", { class: "actions" },
        h("button", { type: "button", autofocus: true, onclick: () => dialog.close("no") }, no),
        h("button", { type: "button", class: "danger", onclick: () => dialog.close("yes") }, yes)));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close("no"); // beside it, on the backdrop
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
