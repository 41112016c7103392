// A press beside an open menu, or Escape, closes it; "/" leads to the field that finds a message.
"use strict";
addEventListener("click", ({ target }) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(target)) menu.open = false;
});
addEventListener("keydown", (event) => {
  const [menu] = document.querySelectorAll("details.menu[open]");
  if (event.key === "Escape" && menu) {
    menu.open = false;
    menu.firstElementChild.focus();
  }
  if (event.key !== "/" || event.target.closest("input, select, textarea")) return;
  event.preventDefault();
  document.getElementById("find").focus();
});
