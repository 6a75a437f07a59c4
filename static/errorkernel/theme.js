// Before the first paint: the reader's choice of colours. A classic script, because a module would come too late.
try {
  const theme = localStorage.getItem("steward-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // storage is forbidden here: the system's colours it is
}
