// Nothing moves under the pointer: a list says how many rows are new, in a link that draws it anew.
"use strict";
(() => {
  const news = document.getElementById("news");
  if (!news) return;
  async function look() {
    if (document.hidden) return;
    try {
      const answer = await fetch(news.dataset.news, { cache: "no-store" });
      if (!answer.ok) return;
      const { words } = await answer.json();
      if (news.firstElementChild.textContent !== words) news.firstElementChild.textContent = words;
      news.hidden = !words;
    } catch { /* the next look may find it */ }
  }
  setInterval(look, 10000);
})();
