// The part of a page that says how far something is: fetched again every two seconds until it has ended.

import { newInZone } from "./clock.js";

const AGAIN_MS = 2000;

async function look() {
  const part = document.querySelector('[data-follow="yes"]');
  if (!part) return;
  try {
    const answer = await fetch(location.href, { credentials: "same-origin" });
    if (answer.ok && !answer.redirected) {
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-follow]");
      if (fresh) newInZone(fresh);
      // What has not changed is not announced again to those who listen.
      if (fresh && fresh.innerHTML !== part.innerHTML) part.replaceWith(fresh);
    }
  } catch {
    // The server is away: the next look may find it.
  }
  setTimeout(look, AGAIN_MS);
}

setTimeout(look, AGAIN_MS);
