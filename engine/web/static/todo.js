// The to-do list stays as it was drawn, so that nothing moves under the pointer: a link says how much is new on it, and
// how much has gone, and draws it anew. page.js gets the ids of the entries there are now.
"use strict";
(() => {
  const drawn = document.getElementById("todo").dataset.ids.split(" ").filter(Boolean);
  const news = document.getElementById("news");

  function said(words, n) {
    return n ? [`${words} ${n}`] : [];
  }

  document.addEventListener("todo", ({ detail: ids }) => {
    const fresh = ids.filter((id) => !drawn.includes(id)).length;
    const gone = drawn.filter((id) => !ids.includes(id)).length;
    const words = [...said(news.dataset.new, fresh), ...said(news.dataset.gone, gone)].join(", ");
    if (news.textContent === words) return;
    const link = document.createElement("a");
    link.href = location.href;
    link.className = "target";
    link.textContent = words;
    news.replaceChildren(...(words ? [link] : []));
  });
})();
