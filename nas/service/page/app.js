// The page: who is logged in, then the view of the address.

import { connection } from "./api.js";
import { compareView } from "./compare.js";
import { formView } from "./form.js";
import { jobView } from "./job.js";
import { jobsView } from "./jobs.js";
import { loginView } from "./login.js";
import { announce, watchConnection } from "./notice.js";
import { go, start } from "./router.js";
import { forget, loadMe, logOut } from "./session.js";

const ROUTES = [
  { name: "jobs", pattern: /^(?:jobs)?$/, view: known(jobsView) },
  { name: "jobs", pattern: /^job\/([^/]+)$/, view: known(jobView) },
  { name: "new", pattern: /^new$/, view: known(formView) },
  { name: "compare", pattern: /^compare$/, view: known(compareView) },
  { name: "login", pattern: /^login$/, view: loginView },
];

let asked = null; // the one question who is logged in

/** Returns a view that first knows who looks. */
function known(view) {
  return async (context) => {
    asked ??= loadMe();
    try {
      await asked;
    } catch (error) {
      asked = null;
      throw error;
    }
    return view(context);
  };
}

function toLogin() {
  asked = null;
  forget();
  const here = location.hash.replace(/^#\/?/, "");
  if (!here.startsWith("login")) go("login", { next: here });
}

watchConnection();
connection.addEventListener("login", toLogin);
addEventListener("unhandledrejection", ({ reason }) => {
  if (reason?.status && reason.status !== 401) announce(reason.message);
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address holds the route
  document.getElementById("main").focus();
});
document.getElementById("log-out").addEventListener("click", async () => {
  await logOut();
  asked = null;
  go("login");
});
start(ROUTES);
