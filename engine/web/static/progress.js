// How far an operation is, without a reload; at its end the page is drawn anew.
"use strict";
(() => {
  const box = document.getElementById("progress");
  if (!box || !box.dataset.running) return;
  async function look() {
    if (document.hidden) return;
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      if (!answer.ok) return;
      const drawn = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("progress");
      if (!drawn) return;
      if (!drawn.dataset.running) location.reload();
      else box.replaceChildren(...drawn.childNodes);
    } catch { /* the next look may find it */ }
  }
  setInterval(look, 2000);
})();
