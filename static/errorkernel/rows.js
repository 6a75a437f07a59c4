// HTML that the server rendered (and escaped) as nodes. Scripts in it would not run, and there are none.

export function fragment(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content;
}
