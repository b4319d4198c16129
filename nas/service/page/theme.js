// Light or dark: as the system has it, until a reader chooses. A classic script in the head, so
// that a chosen theme is there before the first paint.
"use strict";
{
  const KEY = "nas-theme";
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const kept = stored(() => localStorage.getItem(KEY));
  if (kept === "dark" || kept === "light") root.dataset.theme = kept;

  // A browser that keeps nothing throws.
  function stored(use) {
    try {
      return use();
    } catch {
      return null;
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const show = () => {
      button.textContent = isDark() ? "Light" : "Dark";
      button.setAttribute("aria-label",
        isDark() ? "Switch to light colours" : "Switch to dark colours");
    };
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      stored(() => localStorage.setItem(KEY, root.dataset.theme));
      show();
    });
    system.addEventListener("change", show);
    button.hidden = false;
    show();
  });
}
