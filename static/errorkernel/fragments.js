// The one place where HTML of the server becomes nodes of this page, and where a page or a part of it is fetched again.
//
// The server escapes what it renders. Scripts in a fragment do not run (they are parsed, not inserted by the parser),
// and the Content-Security-Policy allows none that are inline.

import { showInZone } from "./clock.js";

const PAGE = { headers: { Accept: "text/html" } };

export function parseFragment(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content;
}

// The page at `address` as the server renders it now; null where it leads elsewhere, as to the login.
// Rejects without a connection and on an HTTP error.
export async function fetchPage(address = location.href) {
  const response = await fetch(address, PAGE);
  if (response.redirected) return null;
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

// Put `fresh` in the place of `old`, with its times in the reader's zone.
export function replaceElement(old, fresh) {
  showInZone(fresh);
  old.replaceWith(document.adoptNode(fresh));
}

// Which named field inside `element` has the focus, and what is selected in it: to be given back after a replacement.
export function saveFocus(element) {
  const focused = document.activeElement;
  if (!element.contains(focused)) return null;
  const isText = focused.matches("input[type=text], input[type=search], textarea");
  return { name: focused.getAttribute("name"), selection: isText ? [focused.selectionStart, focused.selectionEnd] : null };
}

// Give the focus back: to the field of the same name if there is one, otherwise to `element` itself.
export function restoreFocus(element, saved) {
  if (!saved) return;
  const field = saved.name && element.querySelector(`[name="${saved.name}"]`);
  (field || element).focus({ preventScroll: true });
  if (field && saved.selection) field.setSelectionRange(...saved.selection);
}
