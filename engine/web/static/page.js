// Live updates: the server sends, once a second, the elements that changed; each replaces the one with its id.
// Without scripts the page reloads itself; without a free event slot it asks every five seconds. The page of one
// analyzer asks every two seconds.
"use strict";
(() => {
  const FOCUSABLE = "a[href], button, summary, input, select";
  const link = document.getElementById("link");
  const announce = document.getElementById("announce");
  const language = document.documentElement.lang;
  const asked = document.body.dataset.poll;
  const shown = new Map();
  let lastSeen = Date.now();

  function replace(id, html) {
    const old = document.getElementById(id);
    if (old && shown.get(id) === html) return;
    const selection = document.getSelection();
    if (old && selection && !selection.isCollapsed && old.contains(selection.anchorNode)) return;
    const box = document.createElement("template");
    box.innerHTML = html;
    const fresh = box.content.firstElementChild;
    shown.set(id, html);
    if (!old) return fresh;
    const focused = [...old.querySelectorAll(FOCUSABLE)].indexOf(document.activeElement);
    old.replaceWith(fresh);
    if (focused >= 0) fresh.querySelectorAll(FOCUSABLE)[focused]?.focus({ preventScroll: true });
  }

  function arrange(body, ids, created) {
    ids.forEach((id, at) => {
      const row = document.getElementById(id) ?? created.get(id);
      if (row && body.children[at] !== row) body.insertBefore(row, body.children[at] ?? null);
    });
    while (body.children.length > ids.length) body.lastElementChild.remove();
  }

  function show(update) {
    const created = new Map();
    for (const [id, html] of Object.entries(update.parts)) {
      const fresh = replace(id, html);
      if (fresh) created.set(id, fresh);
    }
    for (const [body, ids] of Object.entries(update.order)) arrange(document.getElementById(body), ids, created);
    if (update.title) document.title = update.title;
    if (update.todo) document.dispatchEvent(new CustomEvent("todo", { detail: update.todo }));
    if (update.say) announce.textContent = update.say;
    lastSeen = Date.now();
    link.textContent = link.dataset.live;
    link.classList.remove("lost");
  }

  async function poll() {
    try {
      const answer = await fetch(asked ?? `/live.json?lang=${language}`, { cache: "no-store" });
      if (answer.ok) show(await answer.json());
    } catch { /* the line below the clock says so */ }
  }

  if (asked) {
    setInterval(poll, 2000);
  } else {
    const events = new EventSource(`/events?lang=${language}`);
    events.onmessage = (event) => show(JSON.parse(event.data));
    setInterval(() => { if (events.readyState === EventSource.CLOSED) poll(); }, 5000);
  }
  setInterval(() => {
    if (Date.now() - lastSeen < 10000) return;
    link.textContent = `${link.dataset.lost} ${document.getElementById("as-of").textContent}`;
    link.classList.add("lost");
  }, 1000);
  link.hidden = false;
  link.textContent = link.dataset.live;
})();
