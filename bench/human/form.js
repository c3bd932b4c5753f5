"use strict";
// Keeps the answers of a rater in localStorage, shows how many there are, and offers them as a CSV.
const { rater, criteria, points, items } = JSON.parse(document.getElementById("content").textContent);
const form = document.getElementById("form");
const progress = document.getElementById("progress");
const key = `ratings of ${rater} ${items.toSorted()[0]}`;
const names = items.flatMap((item) => criteria.map((criterion) => `${item} ${criterion}`));
let keeps = true;

function answers() {
  return new Map([...new FormData(form)].filter(([name]) => names.includes(name)));
}

function show() {
  const number = answers().size;
  const warning = keeps ? "" : "; this browser does not keep them, so download them before you leave";
  progress.value = `${number} of ${names.length} ratings${warning}`;
}

function keep() {
  try {
    localStorage.setItem(key, JSON.stringify([...answers()]));
  } catch {
    keeps = false;
  }
  show();
}

function restore() {
  let kept = null;
  try {
    kept = JSON.parse(localStorage.getItem(key));
  } catch {
    keeps = false;
  }
  for (const [name, value] of Array.isArray(kept) ? kept : []) {
    const choices = names.includes(name) ? form.elements.namedItem(name) : null;
    if (choices && Number(value) >= 1 && Number(value) <= points) choices.value = value;
  }
}

function next() {
  const known = answers();
  const name = names.find((candidate) => !known.has(candidate));
  if (name) form.elements.namedItem(name)[0].focus();
}

function download() {
  const known = answers();
  const rows = items.map((item) => [rater, item, ...criteria.map((criterion) => known.get(`${item} ${criterion}`) ?? "")]);
  const text = [["rater", "item", ...criteria], ...rows].map((cells) => `${cells.join(",")}\n`).join("");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = `${rater}.csv`;
  link.click();
  URL.revokeObjectURL(link.href);
}

form.addEventListener("change", keep);
document.getElementById("next").addEventListener("click", next);
document.getElementById("download").addEventListener("click", download);
restore();
show();
