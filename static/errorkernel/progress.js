// The part of a page that shows how far something is: fetched again until it has ended. Without this a link does so.
//
// `data-progress` is the pause between two requests in milliseconds; a part that has ended has none.

import { fetchPage } from "./fragments.js";
import { patchElement } from "./patch.js";

const findPart = () => document.querySelector("[data-progress]");

async function refresh() {
  const part = findPart();
  if (document.hidden) return;
  const fresh = (await fetchPage())?.getElementById(part.id);
  if (!fresh) return;
  patchElement(part, fresh);
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
