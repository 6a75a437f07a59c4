// Nothing moves under a pointer or a focus that is in use. A mouse that has not moved for a while is not in use.

const IN_USE_MS = 10_000;
let usedAt = 0;

for (const kind of ["pointermove", "pointerdown", "keydown", "focusin"]) {
  addEventListener(kind, () => (usedAt = Date.now()), { passive: true, capture: true });
}

export function isInUse(element) {
  if (Date.now() - usedAt > IN_USE_MS) return false;
  const focused = document.activeElement;
  return element.matches(":hover") || (element.contains(focused) && focused.matches(":focus-visible"));
}
