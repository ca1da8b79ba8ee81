// What makes pages handier and is needed for nothing: copying, the theme, a key for the search, asking before what cannot be undone.
"use strict";

function say(sentence) {
  document.getElementById("spoken").textContent = sentence;
}

async function copy(button) {
  const text = button.closest(".command").querySelector("code").textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyBySelection(button.closest(".command").querySelector("code")); // plain http has no clipboard of its own
  }
  const before = button.textContent;
  button.textContent = "Copied";
  say("Copied: " + text);
  setTimeout(() => { button.textContent = before; }, 1600);
}

function copyBySelection(element) {
  const range = document.createRange();
  range.selectNodeContents(element);
  const selection = getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
  document.execCommand("copy");
  selection.removeAllRanges();
}

function toggleTheme() {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const next = (root.dataset.theme || system) === "dark" ? "light" : "dark";
  root.dataset.theme = next;
  try {
    localStorage.setItem("theme", next);
  } catch {
    // It holds for this page then.
  }
  say(next === "dark" ? "Dark" : "Light");
}

function show(within) {
  for (const one of within.querySelectorAll("[data-copy][hidden], [data-theme-toggle][hidden]")) one.hidden = false;
}

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-copy], [data-theme-toggle]");
  if (target && "copy" in target.dataset) copy(target);
  if (target && "themeToggle" in target.dataset) toggleTheme();
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.closest("input, textarea, select")) return;
  const field = document.querySelector("#q, [data-shortcut='/']");
  if (field) {
    event.preventDefault();
    field.focus();
  }
});

document.addEventListener("submit", (event) => {
  const asked = event.target.dataset.confirm;
  if (asked && !confirm(asked)) event.preventDefault();
});

// Whether something is typed or chosen that has not been sent.
function isDirty(field) {
  if (field.type === "hidden" || field.closest("[data-live]")) return false;
  if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
  if (field.options) return field.value !== ([...field.options].find((one) => one.defaultSelected) || field.options[0]).value;
  return field.value !== field.defaultValue;
}

// What has the focus in a part stays there when the part is drawn anew: a link by its address, all else by its name or id.
function draw(part, html) {
  const held = part.contains(document.activeElement) ? document.activeElement : null;
  const same = (one) => one.tagName === held.tagName && ["href", "id", "name", "value"].every((what) => one.getAttribute(what) === held.getAttribute(what));
  part.innerHTML = html;
  if (held) [...part.querySelectorAll(held.tagName)].find(same)?.focus({ preventScroll: true });
}

// Lines come to the end of a list; who looks at its end goes with them, who has scrolled back stays.
function add(list, rows) {
  const region = list.closest(".scroll");
  const atEnd = region.scrollTop + region.clientHeight >= region.scrollHeight - 4;
  list.insertAdjacentHTML("beforeend", rows);
  if (atEnd) region.scrollTop = region.scrollHeight;
}

// A part that follows what happens, while its window is looked at: browsers keep six connections to a host, and hidden pages none of them.
function follow(part) {
  const address = new URL(part.dataset.live, location);
  const list = document.querySelector("[data-added]");
  let events = null;
  let ended = false;
  function open() {
    if (events || ended || document.hidden) return;
    events = new EventSource(address);
    events.addEventListener("message", (event) => draw(part, event.data));
    events.addEventListener("said", (event) => { if (event.data) say(event.data); });
    events.addEventListener("added", (event) => {
      address.searchParams.set("after", event.lastEventId);
      if (list) add(list, event.data);
    });
    events.addEventListener("rest", () => { ended = true; close(); anew(part); });
    events.addEventListener("error", () => {
      if (events?.readyState === EventSource.CLOSED) { close(); setTimeout(open, 60000); } // it was refused: others follow too much
    });
  }
  function close() {
    events?.close();
    events = null;
  }
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  if (list) list.closest(".scroll").scrollTop = list.closest(".scroll").scrollHeight;
  open();
}

// What can be done next may be another thing: the page is loaded anew, unless somebody is writing. Then it says that there is more to see.
function anew(part) {
  if (![...document.querySelectorAll("input, textarea, select")].some(isDirty)) return location.reload();
  const note = document.createElement("p");
  note.className = "note";
  note.innerHTML = 'It has ended. <a href="">Load the page anew</a> once what you have written is saved.';
  part.append(note);
  say("It has ended.");
}

for (const part of document.querySelectorAll("[data-live]")) follow(part);
document.addEventListener("htmx:load", (event) => show(event.target));
show(document);
