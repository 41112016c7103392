// How many entries are new on the to-do list, and how many have gone. page.js gets the ids of those there are now.
"use strict";
(() => {
  const drawn = document.getElementById("todo").dataset.ids.split(" ").filter(Boolean);
  const words = document.getElementById("news").dataset;
  const nothing = document.querySelector("#todo-list.ok"); // "Nothing to do"

  document.addEventListener("todo", ({ detail: ids }) => {
    const fresh = ids.filter((id) => !drawn.includes(id)).length;
    const gone = drawn.filter((id) => !ids.includes(id)).length;
    newer([[words.fresh, fresh], [words.gone, gone]].filter(([, n]) => n).map((said) => said.join(" ")).join(", "));
    if (nothing) nothing.style.visibility = fresh ? "hidden" : "";
  });
})();
