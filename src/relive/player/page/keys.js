// The keyboard. Fields and lists keep their own keys; a focused button keeps Space and Enter.

import { $ } from "/page/dom.js";

export function listenToKeys(actionOf) {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || $("help").open) return;
    const at = event.target;
    if (at.matches("input, select, textarea")) return;
    if (at.matches("button, a") && (event.key === " " || event.key === "Enter")) return;
    const action = actionOf(event.shiftKey && event.key.startsWith("Arrow") ? `Shift+${event.key}` : event.key.length === 1 ? event.key.toLowerCase() : event.key);
    if (!action) return;
    event.preventDefault();
    action();
  });
  // After a click the keyboard belongs to the player again, not to the button.
  addEventListener("pointerup", (event) => {
    const button = event.target.closest?.("button");
    if (button && !button.closest("dialog")) setTimeout(() => button.blur());
  });
  addEventListener("change", (event) => {
    if (event.target.matches("select")) event.target.blur();
  });
}
