// Warns before the log-in ends. The page asks how long is left, which keeps no log-in open; "Stay logged in" sends
// the form without leaving the page, so that a half-filled one is not lost. Without scripts the same form leads back.
"use strict";
(() => {
  const WARN_S = 300;
  const ending = document.getElementById("ending");
  if (!ending) return;
  const at = document.getElementById("ending-at");
  const says = document.getElementById("ending-says");
  const stay = document.getElementById("stay");
  const again = document.getElementById("log-in-again");
  let timer = 0;

  function wait(left) {
    clearTimeout(timer);
    timer = setTimeout(ask, Math.max(1, left > WARN_S ? left - WARN_S : Math.min(left, 20)) * 1000);
  }

  function over() {
    says.textContent = again.dataset.over;
    stay.hidden = true;
    again.hidden = false;
    ending.hidden = false;
  }

  async function ask() {
    let answer;
    try {
      answer = await fetch("/session.json", { cache: "no-store" });
    } catch {
      return wait(20);
    }
    if (answer.status === 401) return over();
    if (!answer.ok) return wait(20);
    const found = await answer.json();
    at.textContent = found.until;
    stay.hidden = found.is_last;
    again.hidden = !found.is_last;
    ending.hidden = found.left_s > WARN_S;
    wait(found.left_s);
  }

  stay.addEventListener("click", async (event) => {
    event.preventDefault();
    try {
      await fetch(ending.action, { method: "POST", body: new URLSearchParams(new FormData(ending)), redirect: "manual" });
    } catch { /* asked again below */ }
    ask();
  });
  wait(Number(ending.dataset.left));
})();
