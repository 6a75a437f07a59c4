// The part of a page that shows how far something is: fetched again until it has ended. Without this a link does so.
//
// `data-progress` is the pause between two requests in milliseconds; a part that has ended has none.

import { fetchPage, replaceElement } from "./fragments.js";

const findPart = () => document.querySelector("[data-progress]");

async function refresh() {
  const part = findPart();
  // Nobody's choice is taken away under their hands.
  if (!document.hidden && !part.contains(document.activeElement)) {
    const page = await fetchPage();
    const fresh = page?.getElementById(part.id);
    // What has not changed is not announced again to those who listen.
    if (fresh && fresh.innerHTML !== part.innerHTML) replaceElement(part, fresh);
    else if (fresh && !fresh.dataset.progress) delete part.dataset.progress;
  }
}

function schedule() {
  const part = findPart();
  // Without a connection the next request may succeed.
  if (part)
    setTimeout(
      () =>
        refresh()
          .catch(() => null)
          .then(schedule),
      Number(part.dataset.progress),
    );
}

schedule();
