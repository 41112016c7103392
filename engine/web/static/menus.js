// A press beside an open menu, or Escape, closes it. No key alone does more: scanners of barcodes type into pages, too.
"use strict";
addEventListener("click", ({ target }) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(target)) menu.open = false;
});
addEventListener("keydown", ({ key }) => {
  const [menu] = document.querySelectorAll("details.menu[open]");
  if (key !== "Escape" || !menu) return;
  menu.open = false;
  menu.firstElementChild.focus();
});
