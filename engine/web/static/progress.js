// How far an operation is; at its end the page is drawn anew.
"use strict";
ask(`${location.pathname}?auto&lang=${document.documentElement.lang}`, 2, (text) => {
  const drawn = new DOMParser().parseFromString(text, "text/html").getElementById("progress");
  if (!drawn?.dataset.running) location.reload();
  else document.getElementById("progress").replaceChildren(...drawn.childNodes);
});
