// How many entries are new on the to-do list, and how many have gone. page.js gets the ids of those there are now.
"use strict";
(() => {
  const drawn = document.getElementById("todo").dataset.ids.split(" ").filter(Boolean);
  const { fresh, gone } = document.getElementById("news").dataset;

  document.addEventListener("todo", ({ detail: ids }) => {
    const counts = [
      [fresh, ids.filter((id) => !drawn.includes(id)).length],
      [gone, drawn.filter((id) => !ids.includes(id)).length],
    ];
    newer(counts.filter(([, n]) => n).map(([words, n]) => `${words} ${n}`).join(", "));
  });
})();
