// The one place where HTML of the server becomes nodes of this page, and where a page or a part of it is fetched again.
//
// The server escapes what it renders. Scripts in a fragment do not run (they are parsed, not inserted by the parser),
// and the Content-Security-Policy allows none that are inline.

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
