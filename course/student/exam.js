"use strict";
const questions = [...document.querySelectorAll(".question")];
const texts = new Map(questions.map((question) => [question, question.textContent.toLowerCase()]));
const search = document.getElementById("search"), unfold = document.getElementById("unfold");
const words = { unfold: unfold.textContent, fold: unfold.dataset.fold };

function show() {
  const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const [question, text] of texts) question.hidden = !wanted.every((word) => text.includes(word));
  document.getElementById("nothing").hidden = questions.some((question) => !question.hidden);
}

function fold(open) {
  for (const details of document.querySelectorAll("details")) details.open = open;
  unfold.textContent = open ? words.fold : words.unfold;
}

search.addEventListener("input", show);
unfold.addEventListener("click", () => fold(unfold.textContent === words.unfold));
let before = [];
window.addEventListener("beforeprint", () => {
  before = [...document.querySelectorAll("details:not([open])")];
  for (const details of before) details.open = true;
});
window.addEventListener("afterprint", () => { for (const details of before) details.open = false; });
function open_target() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.matches("details")) target.open = true;
}
window.addEventListener("hashchange", open_target);
open_target();
