// Lists that open over the page (the menu of the account, More on a phone, actions, saved searches): Esc or a press
// elsewhere closes them.

const opened = () => [...document.querySelectorAll("details:is(.menu, .more, .pick, .saved-searches)[open]")];

function close(details) {
  const held = details.contains(document.activeElement);
  details.open = false;
  if (held) details.querySelector("summary").focus();
}

// Close what is open over the page; whether anything was.
export function closeMenus() {
  const all = opened();
  for (const details of all) close(details);
  return all.length > 0;
}

export function startMenus() {
  document.addEventListener("click", (event) => {
    for (const details of opened()) if (!details.contains(event.target)) details.open = false;
  });
}
