// What the page says, in its reader's language: the server puts the texts into the page (errorkernel/web/console/script_texts.py).

const element = document.getElementById("texts");
const texts = element ? JSON.parse(element.textContent) : {};
const language = document.documentElement.lang || "en";
const plurals = new Intl.PluralRules(language);

export const number = (value) => value.toLocaleString(language);

// The text `name` with its {places} filled in; a pair is one thing and several, chosen by `count`.
export function text(name, values = {}) {
  const found = texts[name];
  const chosen = Array.isArray(found) ? found[plurals.select(values.count) === "one" ? 0 : 1] : found;
  return chosen.replace(/\{(\w+)\}/g, (_, place) => (typeof values[place] === "number" ? number(values[place]) : values[place]));
}
