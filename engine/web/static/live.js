// Of the live parts of a page: `ask` asks for what is new, `heard` keeps the word at the top, `newer` offers a list anew.
"use strict";
const LONGEST_S = 60;
const ALLOWED_S = 10; // an answer is late so long after its time
let due = Infinity;
let at;

function heard(next_s) {
  const link = document.getElementById("link");
  at = new Date();
  due = Date.now() + (next_s + ALLOWED_S) * 1000;
  link.textContent = link.dataset.live;
  link.classList.remove("lost");
  link.hidden = !document.getElementById("as-of"); // a list shows rows of its own time
}

setInterval(() => {
  if (Date.now() < due) return;
  const link = document.getElementById("link");
  link.textContent = `${link.dataset.lost} ${document.getElementById("as-of")?.textContent ?? at.toLocaleString("sv")}`;
  link.classList.add("lost");
  link.hidden = false;
}, 1000);

// `show` gets each new answer. There is no need to ask while `served` says so and something is heard. A page in the
// background asks once a minute; where no answer comes, each pause is twice the one before.
function ask(address, every_s, show, served = () => false) {
  let etag = "";
  let pause_s = every_s;
  let timer;

  async function look() {
    if (served() && Date.now() < due) pause_s = every_s;
    else await once();
    wait();
  }

  async function once() {
    try {
      const answer = await fetch(address, {
        cache: "no-store",
        headers: etag ? { "If-None-Match": etag } : {},
        signal: AbortSignal.timeout(ALLOWED_S * 1000),
      });
      if (!answer.ok && answer.status !== 304) throw new Error(answer.statusText);
      if (answer.ok) show(await answer.text());
      etag = answer.headers.get("ETag") ?? "";
      pause_s = document.hidden ? LONGEST_S : every_s;
      heard(pause_s);
    } catch { // the top of the page says so
      pause_s = Math.min(LONGEST_S, 2 * pause_s);
    }
  }

  function wait() {
    clearTimeout(timer);
    timer = setTimeout(look, pause_s * 1000);
  }

  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  heard(every_s);
  wait();
}

// Nothing moves under the pointer: a link says how much is new on a list, and draws it anew.
function newer(words) {
  const news = document.getElementById("news");
  if (news.firstElementChild.textContent !== words) news.firstElementChild.textContent = words;
  news.hidden = !words;
}
