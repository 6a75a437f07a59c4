// Keys of the triage page; those of every page are in keys.js.

import { sendHeld } from "./undo.js";

const SCOPES = { 1: "canary", 2: "all", 3: "chosen" };

// Key → action. An action that returns false leaves the key to the browser.
export function triageKeys(triage, decisions) {
  const here = () => document.activeElement?.closest("[data-group]") ?? null;
  const row = () => document.activeElement?.closest("[data-member]") ?? null;
  const mayDecide = document.body.dataset.mayDecide === "yes";
  const inGroup = (act) => () => {
    const group = here();
    if (!group) return false;
    act(group, row());
    return true;
  };
  const decide = (action) => inGroup((group, member) => mayDecide && decisions.pressKey(action, group, member));
  const scope = (key) =>
    inGroup((group) => {
      const choice = group.querySelector(`[name=scope][value=${SCOPES[key]}]`);
      if (choice) choice.checked = true;
      if (key === "3") triage.toggle(group, true);
    });
  return {
    c: decide("continue"),
    x: decide("kill"),
    s: decide("stop"),
    1: scope("1"),
    2: scope("2"),
    3: scope("3"),
    t: inGroup((group) => group.querySelector("[data-take]")?.click()),
    u: () => decisions.undo(here()),
    " ": () => {
      const box = row()?.querySelector("input");
      if (!box || box === document.activeElement) return false;
      box.click();
      return true;
    },
    Enter: () => {
      const focused = document.activeElement;
      const group = focused?.closest("[data-group]");
      if (!group || !focused.matches("[data-group], [data-member]")) return false;
      const form = group.querySelector("[data-decide]");
      if (form && sendHeld(form)) return true;
      if (focused.matches("[data-member]")) focused.querySelector("a").click();
      else triage.toggle(group);
      return true;
    },
  };
}
