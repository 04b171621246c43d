// Dark or light: as the system says, until somebody chooses.

import { $, forgetColours } from "/page/dom.js";

const system = matchMedia("(prefers-color-scheme: dark)");
let chosen = null;
try {
  chosen = localStorage.getItem("relive-theme");
} catch {
  // storage may be switched off
}

function apply(changed) {
  document.documentElement.dataset.theme = chosen ?? (system.matches ? "dark" : "light");
  forgetColours();
  changed?.();
}

export function startTheme(changed) {
  apply();
  system.addEventListener("change", () => apply(changed));
  $("theme").addEventListener("click", () => {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("relive-theme", chosen);
    } catch {
      // it holds for this page alone
    }
    apply(changed);
  });
}
