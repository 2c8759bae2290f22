// The table of mappings, ranked by the column that was clicked.

import { mappingName, percent, size } from "./format.js";

const MOST = 200;

export class Table {
  sort = "hot";
  #rows = [];

  constructor(table, columns, onSort) {
    this.body = table.tBodies[0];
    this.columns = columns;
    this.headers = new Map();
    const row = table.tHead.rows[0];
    for (const [key, title] of columns) {
      const cell = document.createElement("th"), button = document.createElement("button");
      cell.scope = "col";
      button.textContent = title;
      button.addEventListener("click", () => {
        this.sort = key;
        onSort();
      });
      cell.append(button);
      row.append(cell);
      this.headers.set(key, cell);
    }
  }

  show(rows) {
    const { sort } = this;
    rows.sort((a, b) =>
      sort === "name" ? a.name.localeCompare(b.name) : b[sort] - a[sort] || b.heat - a.heat || b.total - a.total);
    for (const [key, cell] of this.headers) {
      cell.setAttribute("aria-sort", key !== sort ? "none" : key === "name" ? "ascending" : "descending");
    }
    this.#rows = rows.slice(0, MOST);
    const rest = rows.length - this.#rows.length;
    this.body.replaceChildren(...this.#rows.map((mapping) => {
      const row = document.createElement("tr");
      for (const [key] of this.columns) {
        const cell = row.insertCell();
        if (key === "name") cell.textContent = mappingName(mapping.name);
        else if (key === "rate") cell.textContent = percent(mapping.rate);
        // Less than half a page is what the mean makes of windows with hardly any.
        else cell.textContent = mapping[key] >= 2048 ? size(mapping[key]) : "-";
      }
      return row;
    }));
    if (rest > 0) {
      const cell = this.body.insertRow().insertCell();
      cell.colSpan = this.columns.length;
      cell.textContent = `and ${rest} more`;
    }
  }

  // Mark the mapping under the pointer.
  point(name) {
    this.#rows.forEach((mapping, i) =>
      this.body.rows[i].classList.toggle("pointed", mapping.name === name));
  }
}
