// Completes the search syntax as one types: a combobox with a list, whose options the server proposes.
//
// The list takes no key before an option is chosen with an arrow: Enter searches and Tab leaves, as without it. Then Enter
// or Tab takes the option. Esc closes the list.

import { number, text } from "./texts.js";

const QUIET_MS = 120;

class Completion {
  constructor(field) {
    this.field = field;
    this.list = document.createElement("ul");
    this.list.id = "completion";
    this.list.className = "completion";
    this.list.setAttribute("role", "listbox");
    this.list.setAttribute("aria-label", text("completion"));
    this.list.hidden = true;
    field.parentElement.append(this.list);
    for (const [name, value] of Object.entries({
      role: "combobox",
      "aria-expanded": "false",
      "aria-controls": this.list.id,
      "aria-autocomplete": "list",
      "aria-haspopup": "listbox",
    })) {
      field.setAttribute(name, value);
    }
    this.options = [];
    this.active = -1;
    this.from = 0;
    field.addEventListener("input", () => this.schedule());
    field.addEventListener("keydown", (event) => this.press(event));
    field.addEventListener("blur", () => this.close());
    this.list.addEventListener("pointerdown", (event) => {
      event.preventDefault(); // the field keeps the focus
      const option = event.target.closest("[role=option]");
      if (option) this.take([...this.list.children].indexOf(option));
    });
  }

  schedule() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), QUIET_MS);
  }

  async ask() {
    this.asked?.abort();
    this.asked = new AbortController();
    const query = new URLSearchParams({ q: this.field.value, at: this.field.selectionStart });
    try {
      const response = await fetch(`${this.field.dataset.complete}&${query}`, { signal: this.asked.signal });
      if (!response.ok || response.redirected) return;
      const found = await response.json();
      if (document.activeElement === this.field) this.show(found);
    } catch {
      // aborted by a later letter, or no connection: typing goes on without proposals
    }
  }

  show({ from, options }) {
    this.from = from;
    this.options = options;
    this.choose(-1);
    this.list.replaceChildren(...options.map((option, index) => this.row(option, index)));
    this.list.hidden = !options.length;
    this.field.setAttribute("aria-expanded", String(options.length > 0));
  }

  row(option, index) {
    const row = document.createElement("li");
    row.id = `completion-${index}`;
    row.setAttribute("role", "option");
    const parts = [option.insert, option.doc, option.count === null ? "" : number(option.count)];
    for (const [at, part] of parts.entries()) {
      const cell = document.createElement(at ? "span" : "code");
      cell.textContent = part;
      row.append(cell);
    }
    return row;
  }

  choose(index) {
    this.active = index;
    for (const [at, row] of [...this.list.children].entries()) row.setAttribute("aria-selected", String(at === index));
    if (index < 0) this.field.removeAttribute("aria-activedescendant");
    else this.field.setAttribute("aria-activedescendant", `completion-${index}`);
  }

  press(event) {
    if (event.isComposing) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") this.step(event);
    else if ((event.key === "Enter" || event.key === "Tab") && this.active >= 0 && !event.shiftKey) {
      event.preventDefault();
      this.take(this.active);
    } else if (event.key === "Escape" && !this.list.hidden) {
      event.preventDefault();
      event.stopPropagation();
      this.close();
    }
  }

  step(event) {
    event.preventDefault();
    if (this.list.hidden) {
      this.ask();
      return;
    }
    const last = this.options.length - 1;
    if (event.key === "ArrowDown") this.choose(this.active < last ? this.active + 1 : 0);
    else this.choose(this.active > 0 ? this.active - 1 : last);
  }

  take(index) {
    const { insert } = this.options[index];
    const rest = this.field.value.slice(this.field.selectionStart);
    // A complete term is followed by a blank, a field is followed by its value.
    const isField = /[:.]$/.test(insert);
    const head = this.field.value.slice(0, this.from) + insert + (isField || rest.startsWith(" ") ? "" : " ");
    this.field.value = head + rest;
    this.field.setSelectionRange(head.length, head.length);
    this.close();
    if (isField) this.ask();
  }

  close() {
    clearTimeout(this.timer);
    this.asked?.abort();
    this.show({ from: 0, options: [] });
  }
}

export function startCompletion() {
  for (const field of document.querySelectorAll("input[data-complete]")) new Completion(field);
}
