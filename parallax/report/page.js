"use strict";
// Without it everything is still there: it only sorts, filters and opens what a link leads to.
const WORDS = new Map([["inf", Infinity], ["-inf", -Infinity], ["nan", Infinity]]);
function value(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.sort ?? cell.textContent.trim();
  return WORDS.get(text) ?? (text !== "" && !isNaN(text) ? Number(text) : text);
}
for (const head of document.querySelectorAll("table.sortable thead th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") !== "descending";
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = head.closest("table").tBodies[0];
    const sign = down ? -1 : 1;
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [value(a, head.cellIndex), value(b, head.cellIndex)];
      if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;
      return sign * (x < y ? -1 : x > y ? 1 : 0);
    });
    body.append(...rows);
  });
}
const tools = document.querySelector("#filter");
if (tools) {
  tools.hidden = false;
  const [text, verdict, said] = ["filter-text", "filter-verdict", "filter-said"].map((id) =>
    document.getElementById(id));
  const filter = () => {
    let shown = 0;
    for (const row of document.querySelectorAll("tr[data-verdict]")) {
      const fits = row.textContent.toLowerCase().includes(text.value.toLowerCase())
        && (!verdict.value || row.dataset.verdict === verdict.value);
      row.hidden = !fits;
      shown += fits;
    }
    said.textContent = `${shown} nodes shown`;
  };
  text.addEventListener("input", filter);
  verdict.addEventListener("change", filter);
}
function open() {
  const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  if (target) target.scrollIntoView();
}
addEventListener("hashchange", open);
open();
