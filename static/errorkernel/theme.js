// Before the first paint: the reader's choice of colours, of columns and of the height of rows. A classic script, because a module would come too late.
try {
  const theme = localStorage.getItem("steward-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  for (const name of ["hide", "density"]) {
    const chosen = localStorage.getItem(`steward-${name}`);
    if (chosen) document.documentElement.dataset[name] = chosen;
  }
} catch {
  // storage is forbidden here: the system's colours it is
}
