// Each element that has changed takes the place of the one with its id. The overview is sent them once a second while it
// is seen; without a free stream it asks, as the pages of one analyzer and one destination do.
"use strict";
(() => {
  const language = document.documentElement.lang;
  const isWall = document.body.classList.contains("wall"); // where there is nothing to press
  const shown = new WeakMap(); // element -> its HTML
  const waiting = new Map(); // id -> HTML
  const orders = new Map(); // id of a table's body -> ids of its rows
  let events;
  let refused = false;

  function made(id) {
    const box = document.createElement("template");
    box.innerHTML = waiting.get(id);
    const fresh = box.content.firstElementChild;
    shown.set(fresh, waiting.get(id));
    waiting.delete(id);
    return fresh;
  }

  // Marked text stays.
  function replace(old, id, focused, marked) {
    if (old.contains(marked)) return;
    if (shown.get(old) === waiting.get(id)) return waiting.delete(id);
    const hadFocus = old.contains(focused);
    const opened = [...old.querySelectorAll("details")].map((one) => one.open);
    const fresh = made(id);
    fresh.querySelectorAll("details").forEach((one, at) => { one.open = opened[at] ?? one.open; });
    old.replaceWith(fresh);
    if (!hadFocus) return;
    const links = [...fresh.querySelectorAll("a[href], summary")];
    (links.find((one) => one.href === focused.href) ?? links[0])?.focus({ preventScroll: true });
  }

  // Nothing moves under the pointer, or under the focus of a keyboard.
  function arrange(body, ids, marked) {
    if (!isWall && (body.contains(marked) || body.matches(":hover, :focus-within"))) return;
    ids.forEach((id, at) => {
      const row = document.getElementById(id) ?? made(id);
      if (body.children[at] !== row) body.insertBefore(row, body.children[at] ?? null);
    });
    while (body.children.length > ids.length) body.lastElementChild.remove();
    orders.delete(body.id);
  }

  function show(text) {
    const update = JSON.parse(text);
    const focused = document.activeElement; // asked once: between two changes each would need a layout
    const selection = document.getSelection();
    const marked = selection.isCollapsed ? null : selection.anchorNode;
    for (const [id, html] of Object.entries(update.parts)) waiting.set(id, html);
    for (const [id, ids] of Object.entries(update.order)) orders.set(id, ids);
    for (const id of waiting.keys()) {
      const old = document.getElementById(id);
      if (old) replace(old, id, focused, marked);
    }
    for (const [id, ids] of orders) arrange(document.getElementById(id), ids, marked);
    if (!orders.size) waiting.forEach((_, id) => { if (!document.getElementById(id)) waiting.delete(id); });
    if (update.title) document.title = update.title;
    if (update.todo) document.dispatchEvent(new CustomEvent("todo", { detail: update.todo }));
    if (update.say) document.getElementById("announce").textContent = update.say;
  }

  function follow() {
    events?.close();
    if (document.hidden) return;
    events = new EventSource(`/events?lang=${language}`);
    events.onmessage = ({ data }) => {
      heard(1);
      show(data);
    };
    events.onerror = () => {
      refused = events.readyState === EventSource.CLOSED; // all places are taken
      events.close();
    };
  }

  if (document.body.dataset.poll) return ask(document.body.dataset.poll, 2, show);
  document.addEventListener("visibilitychange", follow);
  follow();
  ask(`/live.json?lang=${language}`, 5, (text) => {
    show(text);
    if (!refused) follow();
  }, () => events?.readyState < EventSource.CLOSED);
})();
