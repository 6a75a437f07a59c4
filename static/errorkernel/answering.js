// CanaryState how far an answer to many is, for as long as there is more to come. Without it a link looks again.

import { newInZone } from "./clock.js";

const EVERY_MS = 1000;
const find = () => document.querySelector("[data-answering]");

async function look() {
  const part = find();
  // Nobody's choice is taken away under their hands.
  if (!document.hidden && !part.contains(document.activeElement)) {
    const response = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (response.redirected || !response.ok) return;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const fresh = page.querySelector("[data-answering]");
    if (!fresh) return;
    newInZone(fresh);
    part.replaceWith(document.adoptNode(fresh));
  }
  goOn();
}

function goOn() {
  if (find()?.hasAttribute("data-goes-on")) setTimeout(() => look().catch(goOn), EVERY_MS);
}

goOn();
