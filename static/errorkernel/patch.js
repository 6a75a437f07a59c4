// Makes a part of the page equal to what the server renders now, and keeps its elements: text and attributes change, and
// a control that is still there stays the same element, so that a press that has begun arrives.
//
// While a control is in use, nothing before it is inserted or removed, so it does not move. A control in use that the
// server no longer renders stays, disabled. Both end with the use. What a script has added or written (`data-own`) stays.

import { isInUse } from "./activity.js";
import { showInZone } from "./clock.js";

const CONTROLS = "a[href], button, input:not([type=hidden]), select, textarea, summary";
const NAMES = ["href", "name", "value", "action", "formaction", "type"];
// What the reader or a script has changed since: it is not the server's.
const KEPT_ATTRIBUTES = new Set(["open", "style", "value", "aria-busy", "data-busy", "data-leaving", "checked", "selected"]);
const KEPT_CLASSES = ["armed", "is-old", "is-soon"];

// What makes two siblings the same. Controls are the same only if they do the same.
function keyOf(node) {
  if (!isElement(node)) return node.nodeName;
  if (node.id) return `#${node.id}`;
  const parts = [node.nodeName, node.dataset.key];
  if (node.matches(`${CONTROLS}, form, input`)) parts.push(...NAMES.map((name) => doesOf(node, name)));
  return parts.join(" ");
}

// A field holds what was typed; of a hidden one the value is new with each page.
const doesOf = (node, name) => (name === "value" && node.matches("input") ? "" : node.getAttribute(name));

const isElement = (node) => node.nodeType === Node.ELEMENT_NODE;
const isOwn = (node) => isElement(node) && "own" in node.dataset;

const isControl = (node) => isElement(node) && (node.matches(CONTROLS) || node.querySelector(CONTROLS));

export function patchAttributes(old, fresh) {
  for (const { name, value } of [...fresh.attributes]) {
    const isKept = KEPT_ATTRIBUTES.has(name) && !(name === "value" && old.matches("progress"));
    if (isKept || name === "class" || old.getAttribute(name) === value) continue;
    old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    if (!KEPT_ATTRIBUTES.has(name) && name !== "class" && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  const kept = KEPT_CLASSES.filter((name) => old.classList.contains(name) && !fresh.classList.contains(name));
  const classes = [fresh.getAttribute("class"), ...kept].filter(Boolean).join(" ");
  if ((old.getAttribute("class") ?? "") !== classes) old.setAttribute("class", classes);
}

// The control under the pointer or the focus in `root`; null if none is in use.
function findUsed(root) {
  const hovered = isInUse(root) ? [...root.querySelectorAll(":hover")].pop()?.closest(CONTROLS) : null;
  if (hovered) return hovered;
  const focused = document.activeElement;
  // A button keeps the focus of a mouse that has gone elsewhere.
  const isUsed = focused !== root && root.contains(focused) && focused.matches("input, select, textarea, :focus-visible");
  return isUsed ? focused : null;
}

class Patch {
  constructor(root) {
    this.used = findUsed(root);
    this.isComplete = true;
  }

  // Whether inserting or removing at `place` would move the control in use.
  moves(place) {
    if (!this.used || place === null) return false;
    return Boolean(
      place.compareDocumentPosition(this.used) & (Node.DOCUMENT_POSITION_FOLLOWING | Node.DOCUMENT_POSITION_CONTAINED_BY),
    );
  }

  element(old, fresh) {
    patchAttributes(old, fresh);
    this.children(old, fresh);
  }

  children(old, fresh) {
    const known = new Map();
    for (const child of old.childNodes) {
      const key = keyOf(child);
      known.set(key, [...(known.get(key) ?? []), child]);
    }
    const wanted = [...fresh.childNodes].map((child) => [child, known.get(keyOf(child))?.shift()]);
    for (const gone of [...known.values()].flat()) this.remove(gone);
    let place = old.firstChild;
    for (const [child, same] of wanted) {
      // What stays without being rendered has no part in the order.
      while (place && place !== same && isElement(place) && (isOwn(place) || place.dataset.leaving)) place = place.nextSibling;
      if (same === undefined) this.insert(old, child, place);
      else if (same === place) place = place.nextSibling;
      else this.move(old, same, place);
      if (same) this.node(same, child);
    }
  }

  node(old, fresh) {
    if (isOwn(old)) return;
    if (isElement(old)) {
      if (old.dataset.leaving) comeBack(old);
      this.element(old, fresh);
    } else if (old.nodeValue !== fresh.nodeValue) {
      old.nodeValue = fresh.nodeValue;
    }
  }

  insert(parent, fresh, place) {
    // Text fills the place of a word; an element has one of its own.
    if (isElement(fresh) && this.moves(place ?? parent.lastChild ?? parent)) this.isComplete = false;
    else parent.insertBefore(document.importNode(fresh, true), place);
  }

  move(parent, node, place) {
    if (this.used && (node.contains(this.used) || this.moves(place ?? node))) this.isComplete = false;
    else parent.insertBefore(node, place);
  }

  remove(node) {
    if (isOwn(node)) return;
    const isUsed = this.used !== null && node.contains(this.used);
    if (!isUsed && !(isElement(node) && this.moves(node))) return node.remove();
    this.isComplete = false;
    if (isControl(node)) leave(node);
  }
}

const buttonsOf = (node) => [node, ...node.querySelectorAll("*")].filter((element) => element.matches("button"));

// It has no effect any more, and goes when nobody is on it.
function leave(node) {
  node.dataset.leaving = "1";
  for (const button of buttonsOf(node)) button.setAttribute("aria-disabled", "true");
}

function comeBack(node) {
  delete node.dataset.leaving;
  for (const button of buttonsOf(node)) button.removeAttribute("aria-disabled");
}

const RETRY_MS = 500;
const waiting = new Map(); // element → what it becomes when no control in it is in use

// Make `old` equal to `fresh`, with its times in the reader's zone: at once where nothing in use moves, the rest later.
export function patchElement(old, fresh) {
  patchAttributes(old, fresh);
  patchChildren(old, fresh);
}

export function patchChildren(old, fresh) {
  showInZone(fresh);
  const patching = new Patch(old);
  patching.children(old, fresh);
  if (patching.isComplete) waiting.delete(old);
  else waiting.set(old, fresh);
}

setInterval(() => {
  for (const [old, fresh] of waiting) {
    if (old.isConnected) patchChildren(old, fresh);
    else waiting.delete(old);
  }
}, RETRY_MS);

// A disabled control can have the focus and explains itself, and does nothing.
addEventListener(
  "click",
  (event) => {
    if (event.target.closest?.("[aria-disabled=true]")) event.preventDefault();
  },
  { capture: true },
);
