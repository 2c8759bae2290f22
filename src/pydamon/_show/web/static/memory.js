// Memory by age: figures, areas over time, and the needs curve beside them.

import { Areas } from "./areas.js";
import { clock, duration, percent, rate, size } from "./format.js";
import { agesOf, frameAt, workingSet } from "./frames.js";
import { drawNeeds, needsInWords } from "./needs.js";

const NEGLIGIBLE = 0.01;
const ROWS = 16;
const USED_WITHIN = 10_000;

const $ = (id) => document.getElementById(id);

export class Memory {
  constructor(onChange) {
    this.areas = new Areas($("course"), onChange);
    $("as-table").addEventListener("toggle", onChange);
  }

  get picked() {
    return this.areas.picked;
  }

  // Draw a target's frames from one time to another.
  draw(frames, id, state, curve) {
    const [start, end] = [frames[0].start, frames.at(-1).end];
    this.areas.follow(end);
    const points = frames.map((frame) => ({
      ...agesOf(frame, id), start: frame.start, end: frame.end, window: workingSet(frame, id),
    })).filter((point) => point.sizes);
    const totals = points.map((point) => sum(point.sizes));
    const top = Math.max(0, ...totals, curve?.point?.[1] ?? 0);
    this.areas.draw(points, start, end, top, curve?.point?.[1]);
    const [from, to] = this.picked ?? [start, end];
    const shown = points.filter((point) => point.start < to && point.end > from);
    const { at } = this.areas;
    const point = (at !== null && frameAt(points, at)) || shown.at(-1) || points.at(-1);
    showScale($("course-top"), top);
    showScale($("needs-top"), top);
    showTimes($("course-times"), start, end);
    $("all-time").hidden = !this.picked;
    this.#showNeeds(curve, top, point);
    if (point) this.#showPoint(point, start, at !== null, curve, state);
    if ($("as-table").open) this.#showTable(shown, curve, state.ageLabels);
  }

  #showNeeds(curve, top, point) {
    const [low, high] = drawNeeds($("needs"), curve, top);
    const words = needsInWords(curve, point && point.followed === 0);
    $("needs-words").textContent = words;
    $("needs").setAttribute("aria-label", `Memory kept, against pages a second that come back: ${words}`);
    $("needs-low").textContent = curve?.kept.length ? rate(low) : "";
    $("needs-high").textContent = curve?.kept.length ? rate(high) : "";
  }

  #showPoint(point, start, isAt, curve, state) {
    const told = figures(point.sizes, point.end - start, state.ageEdges);
    if (curve?.point) told.push([curve.point[1], "needed"]);
    $("figures").replaceChildren(...told.map(([bytes, meaning]) => {
      const item = document.createElement("li"), amount = document.createElement("strong");
      if (meaning === "needed") item.className = "needed";
      amount.textContent = size(bytes);
      item.append(amount, meaning);
      return item;
    }));
    $("at").textContent = isAt ? `at ${clock(point.end)}` : "";
    const line = told.map(([bytes, meaning]) => `${size(bytes)} ${meaning}`).join(", ");
    $("course").setAttribute("aria-label", `Resident memory by time since its last use: ${line}. ` +
      "Arrow keys move through time, with shift they pick a span, Escape ends that.");
    if (isAt) $("spoken").textContent = `${clock(point.end)}: ${line}`;
    [...$("ages").children].forEach((item, i) => {
      item.querySelector("b").textContent = size(point.sizes[i]);
      item.hidden = i === point.sizes.length - 1 && !point.sizes[i];
    });
    $("basis").textContent = basis(point.followed, curve?.distance, state.ageEdges[0]);
  }

  // A row for each of some times, and one for each point of the curve.
  #showTable(points, curve, labels) {
    const step = Math.max(1, Math.ceil(points.length / ROWS));
    const chosen = points.filter((_, i) => (points.length - 1 - i) % step === 0);
    fill($("ages-table"), ["time", "resident", ...labels], chosen.map((point) =>
      [clock(point.end), size(sum(point.sizes)), ...point.sizes.map(size)]));
    const rows = curve ? curve.kept.map((kept, i) => [curve.idle[i], kept, curve.back[i]]) : [];
    const every = Math.max(1, Math.ceil(rows.length / ROWS));
    fill($("needs-table"), ["kept: used within", "memory", "come back"],
      rows.filter((_, i) => i % every === 0).map(([idle, kept, back]) =>
        [duration(idle), size(kept), rate(back)]));
  }

  // The legend, which also has the amounts.
  label(labels) {
    $("ages").replaceChildren(...labels.map((label, i) => {
      const item = document.createElement("li"), amount = document.createElement("b");
      item.className = `age${i}`;
      item.append(document.createElement("i"), `${label} `, amount);
      return item;
    }));
  }
}

function sum(sizes) {
  return sizes.reduce((total, bytes) => total + bytes, 0);
}

function showTimes(parent, start, end) {
  const count = Math.max(2, Math.floor(parent.clientWidth / 120));
  parent.replaceChildren(...Array.from({ length: count }, (_, i) => {
    const label = document.createElement("span");
    label.textContent = clock(start + (i / (count - 1)) * (end - start));
    return label;
  }));
}

function showScale(parent, top) {
  parent.replaceChildren(...[1, 0.5, 0].map((share) => {
    const label = document.createElement("span");
    label.textContent = share ? size(top * share) : "0";
    label.className = ["bottom", "half", "top"][2 * share];
    return label;
  }));
}

// The figures that matter most; memory cannot be called idle for longer than it was watched.
// frames/figures.py has the same for terminals and files.
function figures(sizes, watched, edges) {
  const total = sum(sizes), unknown = sizes.at(-1), told = [[total, "resident"]];
  const classes = edges.filter((edge) => edge <= Math.min(USED_WITHIN, watched)).length;
  if (classes) {
    const time = duration(edges[classes - 1]);
    told.push([sum(sizes.slice(0, classes)), `used within ${time}`]);
    told.push([sum(sizes.slice(classes, -1)), `idle for ${time}`]);
  }
  if (unknown > NEGLIGIBLE * total) told.push([unknown, "of unknown age"]);
  return told;
}

// How ages were found out, where that is worth a note.
function basis(followed, distance, least) {
  if (followed === 0) return "By regions: a region counts as used where any page of it is.";
  const share = followed < 1
    ? `Estimated from ${percent(followed)} of the memory, followed page by page. ` : "";
  if (!(distance > least)) return share;
  return `${share}Looks are ${duration(distance)} apart: what was used since one is "used".`;
}

function fill(table, titles, rows) {
  const line = (cells, name) => {
    const row = document.createElement("tr");
    row.append(...cells.map((text, i) => {
      const cell = document.createElement(name === "th" || !i ? "th" : "td");
      cell.scope = name === "th" ? "col" : "row";
      cell.textContent = text;
      return cell;
    }));
    return row;
  };
  table.tHead.replaceChildren(line(titles, "th"));
  table.tBodies[0].replaceChildren(...rows.map((cells) => line(cells, "td")));
}
