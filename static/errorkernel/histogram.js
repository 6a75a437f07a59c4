// Dragging over the histogram of events chooses a range of time: the page is asked for again with `since` and `until`.

const MINUTE_MS = 60_000;

const written = (minute) => new Date(minute * MINUTE_MS).toISOString().slice(0, 16);

function addressOf(since, until) {
  const query = new URLSearchParams(location.search);
  for (const name of ["range", "before"]) query.delete(name);
  query.set("since", written(since));
  query.set("until", written(until));
  return `?${query}`;
}

export function startHistogram() {
  const figure = document.querySelector("[data-histogram]");
  if (!figure) return;
  const picture = figure.querySelector("svg");
  const band = figure.querySelector(".band");
  const label = figure.querySelector("output");
  const first = Number(figure.dataset.first);
  const step = Number(figure.dataset.step);
  const count = Number(figure.dataset.count);
  let from = null;
  let to = null;

  const columnAt = (event) => {
    const box = picture.getBoundingClientRect();
    return Math.min(count - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * count)));
  };
  const range = () => [first + Math.min(from, to) * step, first + (Math.max(from, to) + 1) * step];
  const show = () => {
    const isShown = from !== null;
    band.hidden = label.hidden = !isShown;
    if (!isShown) return;
    const box = picture.getBoundingClientRect();
    const left = picture.offsetLeft || box.left - figure.getBoundingClientRect().left;
    band.style.setProperty("left", `${left + (box.width * Math.min(from, to)) / count}px`);
    band.style.setProperty("width", `${(box.width * (Math.abs(to - from) + 1)) / count}px`);
    const [since, until] = range();
    label.textContent = `${written(since).replace("T", " ")} – ${written(until).slice(11)} UTC`;
  };
  const stop = () => {
    from = to = null;
    show();
  };

  picture.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    picture.setPointerCapture(event.pointerId);
    from = to = columnAt(event);
    show();
  });
  picture.addEventListener("pointermove", (event) => {
    if (from === null) return;
    to = columnAt(event);
    show();
  });
  picture.addEventListener("pointerup", () => {
    if (from === null) return;
    const [since, until] = range();
    location.assign(addressOf(since, until));
  });
  picture.addEventListener("pointercancel", stop);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") stop();
  });
}
