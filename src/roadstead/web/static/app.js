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
  if (event.key === "Escape") for (const menu of document.querySelectorAll("details.menu[open]")) menu.open = false;
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

// A part that follows what happens. Once it is at rest the page is loaded anew, as what can be done next may be another thing; unless somebody
// is writing: then the page says that there is more to see.
function follow(part) {
  const events = new EventSource(part.dataset.live);
  events.addEventListener("message", (event) => { part.innerHTML = event.data; });
  events.addEventListener("rest", () => {
    events.close();
    if (![...document.querySelectorAll("input, textarea, select")].some(isDirty)) return location.reload();
    const note = document.createElement("p");
    note.className = "note";
    note.innerHTML = 'It has ended. <a href="">Load the page anew</a> once what you have written is saved.';
    part.append(note);
    say("It has ended.");
  });
}

for (const part of document.querySelectorAll("[data-live]")) follow(part);
document.addEventListener("htmx:load", (event) => show(event.target));
show(document);
