// The page: frames come in, the user picks targets, times and addresses, and both cause drawing.

import { onThemeChange, palette } from "./colours.js";
import { clock, duration, percent, size } from "./format.js";
import { Frames, mappings, unseenBytes, workingSet } from "./frames.js";
import { Heat } from "./heat.js";
import { Memory } from "./memory.js";
import { Table } from "./table.js";

const SUMS = ["total", "hot", "warm", "cold", "idle", "unobservable", "unseen", "touched", "heat"];
const COLUMNS = [
  ["name", "mapping"], ["total", "size"], ["hot", "hot"], ["warm", "warm"], ["cold", "cold"],
  ["idle", "idle for 10 s"], ["unobservable", "not observable"], ["unseen", "not looked at yet"],
  ["rate", "rate"],
];
const OWNER_COLUMNS = [
  ["name", "owner"], ["idle", "idle for 10 s"], ["hot", "hot"], ["warm", "warm"],
  ["resident", "in memory"], ["allocated", "allocated"],
];
const LATELY = 10;

const $ = (id) => document.getElementById(id);
const frames = new Frames();
let state = null, chosen = null, drawing = false, needs = {}, owners = null;

const heat = new Heat($("heat"));
const memory = new Memory(redraw);
const table = new Table($("mappings"), COLUMNS, redraw);
const ownerTable = new Table($("owners"), OWNER_COLUMNS, showOwners);
ownerTable.sort = "idle";

function redraw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    draw();
  });
}

function draw() {
  const all = frames.all;
  if (!all.length) return;
  const id = target();
  const [start, end] = [all[0].start, all.at(-1).end];
  memory.draw(all, id, state, needs[id]);
  const [from, to] = memory.picked ?? [start, end];
  const shown = frames.between(from, to);
  heat.draw(shown, id, from, to);
  heat.label($("addresses"), $("names"));
  const rows = mappings(shown, id, SUMS);
  for (const row of rows) row.rate = row.total ? row.heat / row.total : 0;
  table.show(rows);
  showOwners();

  showWorkingSet(shown, id);
  $("range").textContent =
    `${size(heat.axis.length * state.page)} of ${size(heat.whole.length * state.page)}, ` +
    `${clock(from)} to ${clock(to)} (${duration(to - from)})`;
  $("top").textContent = percent(heat.top);
  for (const id of ["hottest", "all"]) $(id).setAttribute("aria-pressed", heat.addresses === id);
  showTimes(from, to);
  showCost(shown.slice(-LATELY));
}

function showWorkingSet(shown, id) {
  const sizes = shown.map((frame) => workingSet(frame, id)).filter((bytes) => bytes !== null);
  const unseen = shown.length ? unseenBytes(shown.at(-1), id) : 0;
  $("working-set").textContent = sizes.length
    ? `${size(sizes.at(-1))}, from ${size(Math.min(...sizes))} to ${size(Math.max(...sizes))}` +
      (unseen >= 2048 ? ` (${size(unseen)} not looked at yet)` : "") : "";
}

// The target that was picked; without a pick, the target with the largest working set, which
// another one replaces only with twice as much.
function target() {
  const labels = frames.targets(), last = frames.all.at(-1), select = $("target");
  const before = [...select.options].map((option) => option.textContent).join();
  const options = [...labels];
  if (before !== options.map(([, label]) => label).join()) {
    select.replaceChildren(...options.map(([id, label]) => new Option(label, id)));
  }
  if (chosen === null || !labels.has(chosen)) {
    const shown = select.dataset.target ?? null, used = (id) => workingSet(last, id) ?? 0;
    const ids = last.targets.map(([id]) => id);
    const largest = ids.sort((a, b) => workingSet(last, b) - workingSet(last, a))[0];
    const stays = labels.has(shown) && 2 * used(shown) >= used(largest);
    select.dataset.target = stays ? shown : largest ?? [...labels.keys()].at(-1);
  } else {
    select.dataset.target = chosen;
  }
  select.value = select.dataset.target;
  return select.dataset.target;
}

function showCost(lately) {
  if (!lately.length) return;
  const sum = (column) => lately.reduce((total, frame) => total + frame[column], 0);
  const wall = lately.at(-1).end - lately[0].start, cpu = sum("cpu"), late = sum("late");
  // In the first seconds the start costs most: a share of a CPU would promise too much.
  const cost = wall < 10_000 ? `${+(cpu / 1000).toPrecision(2)} s of CPU time`
    : `${percent(cpu / wall)} of one CPU`;
  $("cost").textContent =
    `${state.probe}: ${cost}, window ${duration(sum("measured") / sum("snapshots"))} ` +
    `(${duration(state.aggregation)} asked), sampled every ${duration(lately.at(-1).sampling)}` +
    (late ? `, ${late} late` : "");
}

function showTimes(from, to) {
  const width = $("heat").clientWidth, count = Math.max(1, Math.floor(width / 110));
  $("times").replaceChildren(...Array.from({ length: count }, (_, i) => {
    const label = document.createElement("span");
    label.style.left = `${(i / count) * width}px`;
    label.textContent = clock(from + (i / count) * (to - from));
    return label;
  }));
}

function drawLegend() {
  const canvas = $("legend"), context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer), colours = palette();
  pixels.forEach((_, i) => {
    pixels[i] = colours[Math.round(((i % canvas.width) / (canvas.width - 1)) * 255)];
  });
  context.putImageData(image, 0, 0);
}

function showOwners() {
  $("owners-section").hidden = !owners;
  if (!owners) return;
  const shown = owners.targets[frames.all.length ? target() : ""] ?? owners;
  $("owners-words").textContent = shown.words;
  $("owners-notes").textContent = owners.notes.join("; ");
  ownerTable.show(shown.rows);
}

function showTip(event) {
  const place = heat.at(event.offsetX, event.offsetY), tip = $("tip");
  tip.hidden = !place;
  if (!place) return;
  tip.textContent = place.text;
  table.point(place.name);
  const beyond = event.clientX + tip.offsetWidth + 16 > innerWidth;
  tip.style.left = `${Math.max(0, event.clientX + (beyond ? -tip.offsetWidth - 8 : 12))}px`;
  tip.style.top = `${event.clientY + 12}px`;
}

$("target").addEventListener("change", (event) => {
  chosen = event.target.value;
  heat.addresses = "hottest";
  redraw();
});
for (const id of ["hottest", "all"]) {
  $(id).addEventListener("click", () => {
    heat.addresses = id;
    redraw();
  });
}
$("all-time").addEventListener("click", () => {
  memory.areas.picked = null;
  redraw();
});
let pressedY = null;
$("heat").addEventListener("pointerdown", (event) => {
  pressedY = event.offsetY;
});
$("heat").addEventListener("pointerup", (event) => {
  if (pressedY !== null) heat.zoom(pressedY, event.offsetY);
  pressedY = null;
  redraw();
});
$("heat").addEventListener("pointermove", showTip);
$("heat").addEventListener("pointerleave", () => {
  $("tip").hidden = true;
  table.point(undefined);
});
addEventListener("resize", redraw);
onThemeChange(() => {
  drawLegend();
  redraw();
});

// A hidden page reads nothing; it connects again when it is shown.
let stream = null;

function connect() {
  frames.clear();
  stream = new EventSource("frames");
  stream.addEventListener("message", (event) => {
    frames.add(event.data);
    if (state) redraw();
  });
  stream.addEventListener("state", (event) => {
    const next = JSON.parse(event.data);
    if (state && next.run !== state.run) connectAnew();
    state = next;
    memory.label(state.ageLabels);
    $("caveat").textContent = state.caveat && `Figures may be wrong: ${state.caveat}`;
    $("state").textContent = state.ended && (state.live ? `${state.ended}: the last picture` : state.ended);
    redraw();
  });
  stream.addEventListener("needs", (event) => {
    needs = JSON.parse(event.data);
    if (state) redraw();
  });
  stream.addEventListener("owners", (event) => {
    owners = JSON.parse(event.data);
    showOwners();
  });
  stream.addEventListener("error", () => {
    $("state").textContent = state?.ended || "not connected: the last picture";
  });
}

function connectAnew() {
  stream.close();
  connect();
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) stream.close();
  else connectAnew();
});
drawLegend();
connect();
