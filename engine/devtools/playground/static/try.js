// labrelay try: sends what is written to the server a moment after the last key, and shows what came of it. A value of
// the document, a field of the message and a line of the mapping each light up what belongs to them in the other panes.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const PAUSE_MS = 250;
  const MARKED_AT_MOST = 200000; // characters of a text that still gets marks
  const SOURCE = /^([A-Z][A-Z0-9]{0,2}\[\d+\])(?:-(\d+))?/;
  const page = Math.random().toString(36).slice(2);
  const files = new Map(); // name -> { text, saved, digest, target, shipped, top, at }
  let mapping = "", shown = "", charset = "utf-8", number = 0, answered = 0, timer = 0, messages = [];
  let result = {}, leaves = [], byPointer = new Map(), bySource = new Map(), byRule = new Map();
  let pointer = "";
  let active = -1, lit = { fields: new Map(), lines: new Map(), leaves: new Set() };

  // -- talking to the server ------------------------------------------------------------------------------------------

  async function ask(path, body) {
    const given = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
    let answer, made;
    try {
      answer = await fetch(path, { cache: "no-store", ...given });
      made = await answer.json();
    } catch {
      throw new Error("no answer: labrelay try has ended, or this page is not its own any more");
    }
    if (!answer.ok) throw new Error(made.error);
    return made;
  }

  function soon() {
    clearTimeout(timer);
    timer = setTimeout(run, PAUSE_MS);
  }

  async function run() {
    const mine = ++number;
    const texts = {};
    for (const [name, file] of files) if (file.text !== file.saved) texts[name] = file.text;
    const late = setTimeout(() => verdict("calm", "working"), 500);
    try {
      const made = await ask("run.json", { page, number: mine, mapping, texts, message: $("message").value, charset });
      if (mine < answered || made.overtaken) return;
      answered = mine;
      clearTimeout(late);
      take(made);
      await wanted(made.mapping?.files ?? []);
    } catch (error) {
      verdict("problem", error.message);
    } finally {
      clearTimeout(late);
    }
  }

  async function wanted(names) {
    const missing = names.filter((name) => !files.has(name));
    if (missing.length) {
      const query = missing.map((name) => `name=${encodeURIComponent(name)}`).join("&");
      for (const file of (await ask(`files.json?${query}`)).files) keep(file);
    }
    if (names.length) for (const [name, file] of files) if (!names.includes(name) && file.text === file.saved) files.delete(name);
    if (!files.has(shown)) open(names.find((name) => files.has(name)) ?? [...files.keys()][0] ?? "");
    listFiles();
  }

  // -- what a trial gave ----------------------------------------------------------------------------------------------

  function take(made) {
    const failed = made.trouble || made.problems?.some((one) => one.severity === "error");
    const before = result;
    result = made;
    if (failed || (!made.lines && made.dead)) {
      result.lines = before.lines;
      $("document").classList.add("stale");
    } else {
      leaves = made.leaves ?? [];
      index();
      draw(made.lines ?? [], made.more);
      $("document").classList.remove("stale");
    }
    const count = Object.entries(made.counts ?? {}).map(([name, n]) => `${n} ${name.replaceAll("_", " ")}`).join(", ");
    $("counts").textContent = count;
    say(made, failed);
    findings(made);
    relight();
  }

  function say(made, failed) {
    const errors = (made.problems ?? []).filter((one) => one.severity === "error");
    const first = errors[0] && [errors[0].file, errors[0].line, errors[0].column].filter(Boolean).join(":");
    const warnings = (made.issues ?? []).filter((one) => one.severity === "warning").length;
    const name = made.mapping ? ` by ${made.mapping.name}` : "";
    if (made.trouble) verdict("problem", made.trouble);
    else if (failed) verdict("problem", `${first}: ${errors[0].text}${errors.length > 1 ? `, and ${errors.length - 1} more` : ""}`);
    else if (made.dead) verdict("problem", `dead: ${made.dead.reason}`);
    else if (made.filtered) verdict("attention", `filtered: ${made.filtered.reason}`);
    else if (!made.message) verdict("calm", "no message");
    else if (warnings) verdict("attention", `mapped${name}, ${warnings === 1 ? "a warning" : `${warnings} warnings`}`);
    else verdict("ok", `mapped${name}`);
  }

  function verdict(level, words) {
    if ($("verdict").textContent === words) return;
    $("verdict").className = `verdict badge ${level}`;
    $("verdict").textContent = words;
  }

  function index() {
    byPointer = new Map();
    bySource = new Map();
    byRule = new Map();
    const add = (map, key, at) => map.has(key) ? map.get(key).push(at) : map.set(key, [at]);
    leaves.forEach((leaf, at) => {
      byPointer.set(leaf.pointer, at);
      for (const name of new Set(leaf.sources.flatMap(fieldNames))) add(bySource, name, at);
      for (const rule of new Set([leaf.rule, ...leaf.calls.map(([rule]) => rule)])) if (rule) add(byRule, rule, at);
    });
    active = -1;
  }

  // OBX[3]-5.1 is read from the field OBX[3]-5; a text of another kind says its line beside it.
  function fieldNames(source) {
    const match = SOURCE.exec(source);
    const line = /line \d+/.exec(source);
    return [match && match[2] ? `${match[1]}-${match[2]}` : "", line ? line[0] : ""].filter(Boolean);
  }

  function draw(lines, more) {
    const box = $("document");
    const top = box.scrollTop;
    const made = document.createDocumentFragment();
    lines.forEach(([depth, text, pointer], at) => {
      const line = document.createElement("div");
      line.textContent = "  ".repeat(depth) + text;
      const leaf = pointer ? byPointer.get(pointer) : undefined;
      if (leaf !== undefined) {
        line.id = `l${at}`;
        line.setAttribute("role", "option");
        line.dataset.leaf = leaf;
      } else line.setAttribute("role", "presentation");
      made.append(line);
    });
    if (more) made.append(Object.assign(document.createElement("div"), { textContent: "... and more than can be shown here" }));
    box.replaceChildren(made);
    box.removeAttribute("aria-activedescendant");
    box.scrollTop = top;
  }

  function findings(made) {
    const list = $("findings");
    list.replaceChildren();
    const add = (level, word, places, words) => {
      const item = document.createElement("li");
      item.append(badge(level, word), ...places.filter(Boolean).map(goto), span("words", words));
      list.append(item);
    };
    for (const one of made.problems ?? []) {
      add(one.severity === "error" ? "problem" : "attention", one.severity, [one.file && `${one.file}:${one.line}:${one.column}`], one.text);
    }
    if (made.dead) add("problem", made.dead.reason, [made.dead.place], made.dead.text);
    if (made.filtered) add("attention", made.filtered.reason, [], made.filtered.text);
    for (const one of made.issues ?? []) {
      add(one.severity === "warning" ? "attention" : "calm", `${one.severity}: ${one.code}`, [one.place, one.rule], one.text);
    }
    for (const one of made.unmapped ?? []) {
      add("attention", "not in its table", [], `${one.table}: ${one.code}${one.unit ? ` in ${one.unit}` : ""}`);
    }
    if (made.explained === false) add("calm", "note", [], "the document is too large to be explained here: labrelay explain FILE does it");
    if (made.several > 1) add("calm", "note", [], `there are ${made.several} messages; this is the first`);
    $("no-findings").hidden = list.children.length > 0;
    const unread = made.unread ?? [];
    $("unread-box").hidden = !unread.length;
    $("unread-title").textContent = unread.length === 1 ? "one field is read by no rule" : `${unread.length} fields are read by no rule`;
    $("unread").textContent = unread.join(", ");
  }

  function badge(level, words) { return span(`badge ${level}`, words); }

  function span(kind, words) {
    return Object.assign(document.createElement("span"), { className: kind, textContent: words });
  }

  // A place that can be gone to: file:line:column of the mapping, or a segment or field of the message.
  function goto(place) {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "place", textContent: place });
    button.addEventListener("click", () => go(place));
    return button;
  }

  function go(place) {
    const match = /^(.+?):(\d+)(?::(\d+))?$/.exec(place);
    if (match && files.has(match[1])) {
      open(match[1]);
      const editor = $("mapping");
      const start = startOf(editor.value, Number(match[2])) + Number(match[3] ?? 1) - 1;
      editor.focus();
      editor.setSelectionRange(start, start);
      reveal(editor, start);
    } else {
      const field = (result.fields ?? []).find(([, , name]) => name === fieldNames(place)[0] || name === place);
      if (!field) return;
      $("message").focus();
      $("message").setSelectionRange(field[0], field[1]);
      reveal($("message"), field[0]);
    }
  }

  // -- lighting up ----------------------------------------------------------------------------------------------------

  function leafShown(at, how) {
    const leaf = leaves[at];
    if (!leaf) return;
    active = at;
    const file = leaf.rule.replace(/:\d+$/, "");
    const editing = document.activeElement === $("mapping");
    if (how === "document" && file !== shown && files.has(file) && !editing) open(file);
    const rules = new Map([[leaf.rule, "lit"], ...leaf.calls.map(([rule]) => [rule, "near"])].reverse());
    light(read([leaf]), rules, new Set(), how);
    why(leaf);
  }

  function fieldShown(name, how) {
    const found = bySource.get(name) ?? [];
    active = -1;
    const rules = new Map(found.filter((at) => leaves[at].rule).map((at) => [leaves[at].rule, "lit"]));
    light(new Map([[name, new Set()]]), rules, new Set(found), how);
    const unread = result.unread?.includes(name.replace(/\[\d+\]/, ""));
    list(name, found, unread ? "no rule reads this field" : "nothing in the document came of it: framing, or it decided something");
  }

  function ruleShown(place, how) {
    const found = byRule.get(place);
    if (!found) return;
    active = -1;
    light(read(found.map((at) => leaves[at])), new Map([[place, "lit"]]), new Set(found), how);
    list(place, found, "");
  }

  // The fields that values were read from, each with its components; 0 is the whole field.
  function read(some) {
    const fields = new Map();
    for (const source of some.flatMap((leaf) => leaf.sources)) {
      const part = Number(/^[A-Z][A-Z0-9]{0,2}\[\d+\]-\d+\.(\d+)/.exec(source)?.[1] ?? 0);
      for (const name of fieldNames(source)) fields.set(name, (fields.get(name) ?? new Set()).add(part));
    }
    return fields;
  }

  function light(fields, lines, some, how) {
    lit = { fields, lines, leaves: some };
    relight();
    if (how !== "message") {
      const field = (result.fields ?? []).find(([, , name]) => fields.has(name));
      if (field) reveal($("message"), field[0]);
    }
    if (how !== "mapping") {
      const own = [...lines].reverse().map(([place]) => lineIn(place)).find(Boolean);
      if (own) reveal($("mapping"), startOf($("mapping").value, own));
    }
    if (how !== "document") $("document").querySelector(".on, .lit")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  function lineIn(place) {
    const match = /^(.+?):(\d+)$/.exec(place);
    return match && match[1] === shown ? Number(match[2]) : 0;
  }

  function relight() {
    markMessage();
    markMapping();
    const box = $("document");
    for (const line of box.querySelectorAll(".on, .lit")) {
      line.classList.remove("on", "lit");
      line.removeAttribute("aria-selected");
    }
    for (const line of box.querySelectorAll("[data-leaf]")) {
      const at = Number(line.dataset.leaf);
      if (at === active) {
        line.classList.add("on");
        line.setAttribute("aria-selected", "true");
        box.setAttribute("aria-activedescendant", line.id);
      } else if (lit.leaves.has(at)) line.classList.add("lit");
    }
  }

  function markMessage() {
    const unread = new Set(result.unread ?? []);
    const bad = new Map();
    for (const issue of result.issues ?? []) if (issue.severity === "warning" && issue.place) bad.set(issue.place, "attention");
    if (result.dead?.place) bad.set(result.dead.place, "problem");
    const marks = [];
    for (const [start, end, name] of result.fields ?? []) {
      if (lit.fields.has(name)) {
        marks.push(...parts(start, end, lit.fields.get(name)).map((part) => [...part, "lit"]));
        continue;
      }
      const kind = bad.get(name) ?? (unread.has(name.replace(/\[\d+\]/, "")) ? "unread" : "");
      if (kind) marks.push([start, end, kind]);
    }
    mark($("message-editor"), $("message").value, marks);
  }

  // The components that a value was read from; the whole field where it was read as a whole.
  function parts(start, end, wanted) {
    const { component, repetition } = result.message ?? {};
    if (!wanted.size || wanted.has(0) || !component) return [[start, end]];
    const text = $("message").value.slice(start, end);
    const first = repetition ? text.split(repetition, 1)[0] : text;
    const found = [];
    let at = start;
    first.split(component).forEach((part, number) => {
      if (wanted.has(number + 1)) found.push([at, at + part.length]);
      at += part.length + component.length;
    });
    return found;
  }

  function markMapping() {
    const text = $("mapping").value;
    const count = text.split("\n").length;
    const kinds = new Map();
    for (const [place, kind] of lit.lines) if (lineIn(place)) kinds.set(lineIn(place), kind);
    const marks = [];
    const numbers = new Map([...kinds].map(([line]) => [line, "lit"]));
    for (const one of result.problems ?? []) {
      if (one.file !== shown) continue;
      const line = Math.min(one.line, count); // YAML may miss what should stand behind the end
      const level = one.severity === "error" ? "problem" : "attention";
      numbers.set(line, level);
      const start = startOf(text, line) + one.column - 1;
      const word = /^(?:[^\s,:{}[\]]+|.)/.exec(text.slice(start)) ?? [" "];
      marks.push([start, start + word[0].length, level]);
      kinds.delete(line);
    }
    for (const [line, kind] of kinds) {
      const start = startOf(text, line) + /^ */.exec(text.slice(startOf(text, line)))[0].length;
      const end = text.indexOf("\n", start);
      marks.push([start, end < 0 ? text.length : end, kind]);
    }
    mark($("mapping-editor"), text, marks.sort((one, other) => one[0] - other[0]));
    numberLines(count, numbers);
  }

  function mark(editor, text, marks) {
    const behind = editor.querySelector(".behind");
    const area = editor.querySelector("textarea");
    const made = document.createDocumentFragment();
    let at = 0;
    if (text.length <= MARKED_AT_MOST) {
      for (const [start, end, kind] of marks) {
        if (start < at || end > text.length) continue;
        made.append(text.slice(at, start));
        made.append(Object.assign(document.createElement("mark"), { className: kind, textContent: text.slice(start, end) || " " }));
        at = end;
      }
    }
    made.append(`${text.slice(at)}\n `);
    behind.replaceChildren(made);
    follow(area);
  }

  function numberLines(count, kinds) {
    const made = document.createDocumentFragment();
    for (let line = 1; line <= count; line++) {
      made.append(kinds.has(line) ? span(kinds.get(line), String(line)) : String(line), "\n");
    }
    $("mapping-editor").querySelector(".numbers").replaceChildren(made);
    follow($("mapping"));
  }

  function follow(area) {
    for (const copy of area.parentElement.querySelectorAll("pre")) {
      copy.scrollTop = area.scrollTop;
      if (copy.className === "behind") copy.scrollLeft = area.scrollLeft;
    }
  }

  // -- why ------------------------------------------------------------------------------------------------------------

  function why(leaf) {
    const box = $("why");
    const line = (...parts) => {
      const made = document.createElement("p");
      for (const part of parts) made.append(part);
      return made;
    };
    const first = line(span("path", leaf.path), " ");
    if (leaf.about) first.append(leaf.rule ? `(${leaf.about})` : leaf.about);
    const rows = [first];
    if (leaf.rule) rows.push(line("made by ", goto(leaf.rule), ` ${leaf.function || (leaf.origin === "literal" ? "as it is written there" : "")}`));
    if (leaf.sources.length) {
      const made = line("of ");
      leaf.sources.forEach((source, at) => made.append(at ? ", " : "", SOURCE.test(source) ? goto(source) : source));
      rows.push(made);
    }
    if (leaf.rows.length) rows.push(line(`with ${leaf.rows.join(", ")}`));
    if (leaf.calls.length) {
      const made = line("through ");
      leaf.calls.forEach(([rule, name, how], at) => made.append(at ? ", " : "", goto(rule), ` ${how === "$use" ? `$use ${name}` : name}`));
      rows.push(made);
    }
    box.replaceChildren(...rows);
  }

  function list(subject, found, otherwise) {
    const first = Object.assign(document.createElement("p"), {});
    first.append(span("path", subject), found.length ? ` made ${found.length === 1 ? "one value" : `${found.length} values`}` : ` ${otherwise}`);
    const all = document.createElement("ol");
    for (const at of found.slice(0, 50)) {
      const item = document.createElement("li");
      const button = Object.assign(document.createElement("button"), { type: "button", className: "place", textContent: leaves[at].path });
      button.addEventListener("click", () => { $("document").focus(); leafShown(at, "why"); });
      item.append(button);
      all.append(item);
    }
    $("why").replaceChildren(first, all);
  }

  // -- places in a text -----------------------------------------------------------------------------------------------

  function startOf(text, line) {
    let at = 0;
    for (let number = 1; number < line; number++) {
      const end = text.indexOf("\n", at);
      if (end < 0) return at;
      at = end + 1;
    }
    return at;
  }

  function metrics(area) {
    const style = getComputedStyle(area);
    const probe = document.createElement("canvas").getContext("2d");
    probe.font = style.font;
    return { width: probe.measureText("M".repeat(100)).width / 100, height: parseFloat(style.lineHeight), left: parseFloat(style.paddingLeft), top: parseFloat(style.paddingTop) };
  }

  function reveal(area, offset) {
    const { width, height, left } = metrics(area);
    const before = area.value.slice(0, offset).split("\n");
    const top = (before.length - 1) * height;
    const side = before.at(-1).length * width;
    if (top < area.scrollTop || top > area.scrollTop + area.clientHeight - 3 * height) area.scrollTop = Math.max(0, top - area.clientHeight / 3);
    if (side < area.scrollLeft || side > area.scrollLeft + area.clientWidth - left - 10 * width) area.scrollLeft = Math.max(0, side - area.clientWidth / 3);
    follow(area);
  }

  function offsetAt(area, event) {
    const found = document.caretPositionFromPoint?.(event.clientX, event.clientY);
    if (found?.offsetNode === area) return found.offset;
    const { width, height, left, top } = metrics(area);
    const box = area.getBoundingClientRect();
    const lines = area.value.split("\n");
    const line = Math.floor((event.clientY - box.top - top + area.scrollTop) / height);
    if (line < 0 || line >= lines.length) return -1;
    const column = Math.floor((event.clientX - box.left - left + area.scrollLeft) / width);
    return startOf(area.value, line + 1) + Math.min(Math.max(0, column), lines[line].length);
  }

  function fieldAt(offset) {
    return (result.fields ?? []).find(([start, end]) => start <= offset && offset <= end)?.[2];
  }

  function atMessage(offset) {
    const name = offset >= 0 ? fieldAt(offset) : undefined;
    if (name && name.includes("-") || name?.startsWith("line")) fieldShown(name, "message");
  }

  function atMapping(offset) {
    if (offset >= 0) ruleShown(`${shown}:${$("mapping").value.slice(0, offset).split("\n").length}`, "mapping");
  }

  // -- the mapping's files --------------------------------------------------------------------------------------------

  function keep(file) {
    files.set(file.name, { text: file.text, saved: file.text, digest: file.digest, target: file.target, shipped: file.shipped, top: 0, at: 0 });
  }

  function open(name) {
    const before = files.get(shown);
    const editor = $("mapping");
    if (before) Object.assign(before, { top: editor.scrollTop, at: editor.selectionStart });
    shown = name;
    const file = files.get(name);
    editor.value = file?.text ?? "";
    editor.readOnly = !file;
    if (file) {
      editor.setSelectionRange(file.at, file.at);
      editor.scrollTop = file.top;
    }
    listFiles();
    markMapping();
  }

  function listFiles() {
    const select = $("files");
    select.replaceChildren(...[...files].map(([name, file]) => new Option(file.text === file.saved ? name : `\u2022 ${name}`, name, false, name === shown)));
    const file = files.get(shown);
    const edited = file && file.text !== file.saved;
    $("save").disabled = !edited || !file.target;
    $("file-note").textContent = !file ? "" : !file.target ? "Cannot be saved from here: it ships with LabRelay, and there is no site." : !edited ? "" : !file.shipped ? "Edited, not saved." : `Edited, not saved. Ships with LabRelay; will be saved as the site's own: ${file.target}`;
  }

  async function save() {
    const name = shown, file = files.get(name), text = file.text;
    try {
      const made = (await ask("save.json", { name, text, digest: file.digest })).file;
      Object.assign(file, { saved: text, digest: made.digest, target: made.target, shipped: made.shipped });
      verdict("ok", `saved: ${made.target}`);
    } catch (error) {
      verdict("problem", error.message);
    }
    listFiles();
  }

  async function choose(name) {
    const edited = [...files].filter(([, file]) => file.text !== file.saved);
    if (edited.length && !confirm(`Leave unsaved edits of ${edited.map(([file]) => file).join(", ")}?`)) {
      $("mappings").value = mapping;
      return;
    }
    mapping = name;
    files.clear();
    if (mapping) for (const file of (await ask(`files.json?mapping=${encodeURIComponent(mapping)}`)).files) keep(file);
    open([...files.keys()][0] ?? "");
    run();
  }

  function several(made) {
    messages = made.messages ?? [];
    $("parts-label").hidden = messages.length < 2;
    $("parts").replaceChildren(...messages.map((_, at) => new Option(String(at + 1), at)));
    if (messages.length) message(0);
  }

  function message(at) {
    charset = messages[at].charset;
    $("message").value = messages[at].text;
    $("message").scrollTop = 0;
    run();
  }

  // -- what people do -------------------------------------------------------------------------------------------------

  function step(by) {
    const options = [...$("document").querySelectorAll("[data-leaf]")];
    const here = options.findIndex((line) => Number(line.dataset.leaf) === active);
    const line = options[by === "first" ? 0 : by === "last" ? options.length - 1 : Math.min(options.length - 1, Math.max(0, here + by))];
    if (line) pick(line, "document");
  }

  function pick(line, how) {
    leafShown(Number(line.dataset.leaf), how);
    line.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  function search(next) {
    const wanted = $("find").value.toLowerCase();
    const lines = [...$("document").children];
    const from = next ? lines.findIndex((line) => line.classList.contains("found")) + 1 : 0;
    for (const line of lines) line.classList.remove("found");
    if (!wanted) return;
    const hit = [...lines.slice(from), ...lines.slice(0, from)].find((line) => line.textContent.toLowerCase().includes(wanted));
    if (!hit) return;
    hit.classList.add("found");
    if (hit.dataset.leaf) leafShown(Number(hit.dataset.leaf), "document");
    hit.scrollIntoView({ block: "nearest" });
  }

  $("message").addEventListener("input", () => { result.fields = []; markMessage(); soon(); });
  $("mapping").addEventListener("input", () => {
    const file = files.get(shown);
    if (!file) return;
    file.text = $("mapping").value;
    lit.lines = new Map();
    result.problems = [];
    markMapping();
    listFiles();
    soon();
  });
  for (const area of [$("message"), $("mapping")]) {
    area.addEventListener("scroll", () => follow(area));
    const at = area.id === "message" ? atMessage : atMapping;
    let last = -1;
    area.addEventListener("mousemove", (event) => {
      const offset = event.buttons ? -1 : offsetAt(area, event);
      if (offset >= 0 && offset !== last) at(last = offset);
    });
    area.addEventListener("keyup", (event) => { if (/^(Arrow|Home|End|Page)/.test(event.key)) at(area.selectionStart); });
    area.addEventListener("click", () => at(area.selectionStart));
  }
  $("document").addEventListener("mousemove", (event) => {
    const here = `${event.clientX} ${event.clientY}`;
    if (here === pointer) return; // the document moved below the pointer, not the other way round
    pointer = here;
    const line = event.target.closest("[data-leaf]");
    if (line && Number(line.dataset.leaf) !== active) leafShown(Number(line.dataset.leaf), "document");
  });
  $("document").addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 15, PageUp: -15, Home: "first", End: "last" }[event.key];
    if (by !== undefined) { event.preventDefault(); step(by); }
    if (event.key === "Enter" && leaves[active]?.rule) { event.preventDefault(); go(leaves[active].rule); }
  });
  $("find").addEventListener("input", () => search(false));
  $("find").addEventListener("keydown", (event) => { if (event.key === "Enter") search(true); });
  $("files").addEventListener("change", () => open($("files").value));
  $("mappings").addEventListener("change", () => choose($("mappings").value));
  $("samples").addEventListener("change", async () => {
    if ($("samples").value) several(await ask(`sample.json?name=${encodeURIComponent($("samples").value)}`));
  });
  $("parts").addEventListener("change", () => message(Number($("parts").value)));
  $("save").addEventListener("click", save);
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "s") { event.preventDefault(); if (!$("save").disabled) save(); }
  });
  addEventListener("beforeunload", (event) => {
    if ([...files.values()].some((file) => file.text !== file.saved)) event.preventDefault();
  });

  (async () => {
    try {
      const start = await ask("start.json");
      $("as").textContent = start.channel ? `as channel ${start.channel}` : "";
      $("mappings").replaceChildren(new Option(start.channel ? "by its route" : "by its kind", ""), ...start.mappings.map((name) => new Option(name, name)));
      $("mappings").value = mapping = start.mapping;
      $("samples-label").hidden = !start.samples.length;
      $("samples").replaceChildren(new Option("choose", ""), ...start.samples.map(([name, shown]) => new Option(shown, name)));
      if (mapping) for (const file of (await ask(`files.json?mapping=${encodeURIComponent(mapping)}`)).files) keep(file);
      open([...files.keys()][0] ?? "");
      if (start.messages.length) several(start);
      else run();
      if (start.trouble) verdict("problem", start.trouble);
    } catch (error) {
      verdict("problem", error.message);
    }
  })();
})();
