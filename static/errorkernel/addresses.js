// Where this installation is on its host: "" at its root, "/errors" below a prefix.

export const ROOT = document.documentElement.dataset.root;
