// What a reader with a keyboard, or with a narrow screen, meets on a page; the tests put this into it.
(() => {
  if (globalThis.look) return;
  const STOPS = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex]";
  const name = (element) => element.outerHTML.replace(/\s+/g, " ").slice(0, 140);
  const shown = (element) => element.checkVisibility({ visibilityProperty: true });

  // A radio button is one stop with the others of its name.
  const isStop = (element) =>
    shown(element) && !element.disabled && element.tabIndex >= 0
    && !(element.type === "radio" && !element.checked && document.querySelector(`[name="${element.name}"]:checked`));

  const scrolls = (element) => ["auto", "scroll", "hidden", "clip"].includes(getComputedStyle(element).overflowX);

  function inScroller(element) {
    for (let at = element.parentElement; at && at !== document.body; at = at.parentElement) if (scrolls(at)) return true;
    return false;
  }

  const look = {};
  const stops = () => [...document.querySelectorAll(STOPS)].filter(isStop);

  // Elements that end to the right of the page, with all that can be unfolded; empty: nothing is wider than the screen.
  look.tooWide = () => {
    const folded = [...document.querySelectorAll("details:not([open])")];
    folded.forEach((element) => { element.open = true; });
    const found = wide();
    folded.forEach((element) => { element.open = false; });
    return found;
  };

  function wide() {
    const width = document.documentElement.clientWidth;
    const over = [...document.body.querySelectorAll(":not(svg svg)")] // Firefox gives one in a drawing the drawing's size
      .filter((element) => shown(element) && !inScroller(element) && element.getBoundingClientRect().right > width + 1);
    if (!over.length && document.documentElement.scrollWidth > width) return ["the page itself"];
    return over.filter((element) => ![...element.children].some((child) => over.includes(child))).map(name);
  }

  look.stops = () => stops().map(name);

  // The number of the element that has the focus (-1: none of them), and what is wrong with how that is shown.
  look.focus = () => {
    const element = document.activeElement;
    const at = stops().indexOf(element); // anew each time: a live update puts others in their places
    if (at < 0 || !document.hasFocus()) return { at: -1, wrong: "" }; // Firefox has stops of its own behind the last one
    const style = getComputedStyle(element);
    if (style.outlineStyle === "none" || parseFloat(style.outlineWidth) < 2) return { at, wrong: "focus is not shown" };
    const [box] = element.getClientRects();
    const x = (Math.max(box.left, 0) + Math.min(box.right, innerWidth)) / 2;
    const y = (Math.max(box.top, 0) + Math.min(box.bottom, innerHeight)) / 2;
    const top = document.elementFromPoint(x, y);
    const seen = top && (element.contains(top) || top.contains(element) || top.closest("label")?.control === element);
    return { at, wrong: seen ? "" : "another element is before it" };
  };

  // What that says after each key, since the last time.
  const walked = [];
  addEventListener("keyup", () => walked.push(look.focus()));
  look.walked = () => walked.splice(0);

  // What is wrong with the element that says what became of a form: it has the focus, and its links lead to fields.
  look.told = () => {
    const element = document.activeElement;
    if (element === document.body) return "the focus is on nothing";
    if (element.autofocus !== true) return `the focus is on ${name(element)}`;
    const { top, bottom } = element.getBoundingClientRect();
    if (bottom < 0 || top > innerHeight) return `out of sight: ${name(element)}`;
    const astray = [...element.querySelectorAll("a[href^='#']")].filter((link) => !document.querySelector(link.hash)?.labels);
    return astray.map(name).join();
  };

  // Controls that do nothing without a script.
  look.needScripts = () => [...document.querySelectorAll("button, a[href^='#'], a[href^='javascript:']")]
    .filter((element) => shown(element) && !element.form?.action && !(element.hash && document.querySelector(element.hash)))
    .map(name);

  globalThis.look = look;
})();
