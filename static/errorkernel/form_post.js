// Posts a form in the background, also after the reader has logged in anew in another tab.

import { renewLogin } from "./login.js";

export const FETCHED = "X-Steward-Card"; // asks for a part of a page and a status in place of a redirect

export const currentToken = () => document.querySelector("[name=csrfmiddlewaretoken]").value;

function post(address, body, options) {
  body.set("csrfmiddlewaretoken", currentToken());
  return fetch(address, { method: "POST", body, headers: { [FETCHED]: "1" }, ...options });
}

// The response. Rejects without a connection. 403 may mean that the reader has logged in anew since this page was made;
// 401: nobody is logged in. With `redirect` "manual" a form that leads to another page succeeds without loading it.
export async function postForm(address, body, { redirect = "error" } = {}) {
  const response = await post(address, body, { redirect });
  if (response.status !== 403) return response;
  const login = await renewLogin();
  if (login === "same") return post(address, body, { redirect });
  return login === "out" ? new Response(null, { status: 401 }) : response;
}

// The same while the page is being left: the browser finishes it alone.
export function postLeaving(address, body) {
  post(address, body, { keepalive: true, redirect: "manual" }).catch(() => {});
}
