// What scrolls can be reached by the keyboard, and all of the page lies in landmarks.
document.addEventListener("DOMContentLoaded", () => {
  for (const part of document.querySelectorAll("table, div.highlight pre, .cell_output pre")) {
    part.tabIndex = 0;
  }
  const heads = [...document.querySelectorAll("th")];
  for (const head of heads.filter((one) => !one.textContent.trim())) {
    const cell = document.createElement("td"); // it heads nothing
    cell.colSpan = head.colSpan;
    head.replaceWith(cell);
  }
  const side = document.querySelector(".sidebar-primary-items__start");
  if (side) {
    side.setAttribute("role", "navigation");
    side.setAttribute("aria-label", "Site");
  }
});
