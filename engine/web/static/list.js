// How many rows of a list are new.
"use strict";
(() => {
  const news = document.getElementById("news"); // an empty list has none
  if (news) ask(news.dataset.news, 10, (text) => newer(JSON.parse(text).words));
})();
