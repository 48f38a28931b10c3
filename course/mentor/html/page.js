"use strict";
const rows = [...document.querySelectorAll("nav li")];
const articles = [...document.querySelectorAll("article")];
const filter = document.getElementById("filter");
let here = 0;
let flag = "all";

function show(index) {
  here = index;
  articles.forEach((article, i) => { article.hidden = i !== index; });
  rows.forEach((row, i) => row.classList.toggle("here", i === index));
  rows[index].scrollIntoView({ block: "nearest" });
  window.scrollTo(0, 0);
  history.replaceState(null, "", "#" + encodeURIComponent(articles[index].dataset.student));
}

function numberOf(student) { return articles.findIndex((article) => article.dataset.student === student); }

function asked() {
  try { return Math.max(0, numberOf(decodeURIComponent(location.hash.slice(1)))); } catch { return 0; }
}

function visible(index) { return !rows[index].hidden; }

function move(step) {
  for (let i = here + step; i >= 0 && i < rows.length; i += step) {
    if (visible(i)) { show(i); return; }
  }
}

function narrow() {
  const wanted = filter.value.toLowerCase();
  rows.forEach((row) => {
    const flags = row.dataset.flags.split(" ");
    row.hidden = !row.textContent.toLowerCase().includes(wanted) || (flag !== "all" && !flags.includes(flag));
  });
  if (!visible(here)) {
    const first = rows.findIndex((row) => !row.hidden);
    if (first >= 0) show(first);
  }
}

rows.forEach((row, i) => row.querySelector("a").addEventListener("click", (event) => { event.preventDefault(); show(i); }));
document.querySelectorAll("a[data-student]").forEach((link) => link.addEventListener("click", (event) => {
  event.preventDefault();
  show(numberOf(link.dataset.student));
}));
document.querySelectorAll("a[href^='#alike']").forEach((link) => link.addEventListener("click", (event) => {
  event.preventDefault();
  document.querySelector(link.getAttribute("href")).scrollIntoView();
}));
filter.addEventListener("input", narrow);
document.querySelectorAll("#flags button").forEach((button) => button.addEventListener("click", () => {
  flag = button.dataset.flag;
  document.querySelectorAll("#flags button").forEach((each) => each.setAttribute("aria-pressed", each === button));
  narrow();
}));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.activeElement === filter) {
    if (event.key === "Escape" || event.key === "Enter") filter.blur();
    return;
  }
  if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
  else if (event.key === "/") { event.preventDefault(); filter.focus(); }
  else if (event.key === "d") {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  }
});
if (rows.length) show(asked());
