// The heat map in a browser. Every region of the recording is in the page; what is on the screen is
// drawn from them at each zoom, a cell's colour being the mean over its bytes and its time.
"use strict";

const CELL = 2; // pixels of the screen, as they are counted in CSS
const MARGIN = { left: 128, right: 190, top: 8, bottom: 28 };
const LINE = 15; // pixels between two labels at least
const TICK = 90;
const UNSEEN = -1, GREY = 128;
const $ = (id) => document.getElementById(id);
const facts = JSON.parse($("facts").textContent);
const types = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, f8: Float64Array };

async function unpack(text) {
  const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return await new Response(stream).arrayBuffer();
}

function column(buffer, [type, at, length]) {
  return new types[type](buffer, at, length);
}

// The columns of one target: positions on its axis in bytes, times in ns since the first snapshot.
function load(target, buffer) {
  const of = (name) => column(buffer, target.columns[name]);
  const counts = of("counts"), gaps = of("gaps"), sizes = of("sizes");
  const hits = of("hits"), most = of("most"), begin = of("begin"), end = of("end");
  const n = gaps.length;
  const low = new Float64Array(n), high = new Float64Array(n), rate = new Float32Array(n);
  const offsets = new Uint32Array(counts.length + 1);
  let row = 0, top = 0;
  for (let s = 0; s < counts.length; s++) {
    let at = 0;
    for (const last = row + counts[s]; row < last; row++) {
      low[row] = at += gaps[row] * target.unit;
      high[row] = at += sizes[row] * target.unit;
      rate[row] = hits[row] / most[s];
      if (rate[row] > top) top = rate[row];
    }
    offsets[s + 1] = row;
  }
  const segments = [];
  let length = 0;
  for (const [start, size, names] of target.segments) {
    segments.push({ start: BigInt(start), at: length, size, names });
    length += size;
  }
  return {
    ...target, low, high, rate, top, offsets, begin, end, hits, most, segments, length,
    age: of("age"), unseen: of("unseen"), code: of("code"), duration: end[end.length - 1],
  };
}

// The first index of a sorted array whose value is above a bound.
function above(array, bound, from = 0, to = array.length) {
  while (from < to) {
    const mid = (from + to) >> 1;
    if (array[mid] <= bound) from = mid + 1;
    else to = mid;
  }
  return from;
}

function address(map, position) {
  const found = map.segments.findLast((one) => one.at <= position) ?? map.segments[0];
  return found.start + BigInt(Math.floor(position - found.at));
}

// Mean access rates of the cells of a view: Float32Array by column, then row; NaN for none, and
// UNSEEN where nobody had looked at more than a half.
function rasterise(map, view, columns, rows) {
  const heat = new Float64Array(columns * rows), known = new Float64Array(columns * rows);
  const rowHeat = new Float64Array(rows), rowKnown = new Float64Array(rows);
  const hidden = new Float64Array(columns * rows), rowHidden = new Float64Array(rows);
  const perByte = rows / (view.high - view.low), perNs = columns / (view.end - view.begin);
  for (let s = above(map.end, view.begin); s < map.begin.length && map.begin[s] < view.end; s++) {
    rowHeat.fill(0);
    rowKnown.fill(0);
    rowHidden.fill(0);
    const last = map.offsets[s + 1];
    for (let i = above(map.high, view.low, map.offsets[s], last); i < last; i++) {
      if (map.low[i] >= view.high) break;
      const from = Math.max(0, (map.low[i] - view.low) * perByte);
      const to = Math.min(rows, (map.high[i] - view.low) * perByte);
      const rate = map.rate[i], unseen = map.unseen[i] / 255;
      for (let r = Math.floor(from); r < to; r++) {
        const share = Math.min(to, r + 1) - Math.max(from, r);
        rowHeat[r] += share * rate * (1 - unseen);
        rowKnown[r] += share;
        rowHidden[r] += share * unseen;
      }
    }
    const from = Math.max(0, (map.begin[s] - view.begin) * perNs);
    const to = Math.min(columns, (map.end[s] - view.begin) * perNs);
    for (let c = Math.floor(from); c < to; c++) {
      const share = Math.min(to, c + 1) - Math.max(from, c), at = c * rows;
      for (let r = 0; r < rows; r++) {
        heat[at + r] += share * rowHeat[r];
        known[at + r] += share * rowKnown[r];
        hidden[at + r] += share * rowHidden[r];
      }
    }
  }
  return Float32Array.from(heat, (value, i) => {
    if (known[i] <= 1e-9) return NaN;
    return 2 * hidden[i] > known[i] ? UNSEEN : value / (known[i] - hidden[i]);
  });
}

function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (bytes >= 1023.5 && unit < units.length - 1) (bytes /= 1024), unit++;
  return `${+bytes.toFixed(bytes >= 100 || !unit ? 0 : 1)} ${units[unit]}`;
}

function duration(ns, step = ns) {
  if (!ns) return "0 s";
  if (ns >= 60e9 && step >= 1e9) {
    const all = Math.round(ns / 1e9), parts = [];
    for (const [unit, seconds] of [["h", 3600], ["min", 60], ["s", 1]]) {
      const count = Math.floor(all / seconds) % (unit === "h" ? Infinity : 60);
      if (count) parts.push(`${count} ${unit}`);
    }
    return parts.slice(0, 3).join(" ");
  }
  for (const [unit, factor] of [["s", 1e9], ["ms", 1e6], ["us", 1e3], ["ns", 1]])
    if (ns >= factor) {
      const digits = Math.max(0, Math.min(6, Math.ceil(-Math.log10(step / factor) + 1)));
      return `${+(ns / factor).toFixed(Math.max(digits, step === ns ? 2 : 0))} ${unit}`;
    }
}

function percent(rate) {
  const value = rate * 100;
  return `${value && value < 9.95 ? +value.toPrecision(2) : Math.round(value)} %`;
}

function stepOf(ns) {
  for (const unit of [60e9, 3600e9])
    if (ns >= unit / 2 && ns <= 30 * unit)
      return unit * [1, 2, 5, 10, 20, 30].find((n) => n * unit >= ns);
  const power = 10 ** Math.floor(Math.log10(Math.max(ns, 1)));
  return power * [1, 2, 5, 10].find((n) => n * power >= ns);
}

function shortened(name, most) {
  if (name.length > most) name = name.slice(name.lastIndexOf("/") + 1) || name;
  return name.length > most ? `${name.slice(0, most - 1)}~` : name;
}

class Page {
  constructor(maps) {
    this.maps = maps;
    this.canvas = $("map");
    this.context = this.canvas.getContext("2d");
    this.past = [];
    for (const [i, map] of maps.entries()) $("target").add(new Option(map.label, i));
    $("target").hidden = maps.length < 2;
    $("target").onchange = () => this.choose(maps[$("target").value]);
    $("all").onclick = () => this.go(this.whole());
    $("hottest").onclick = () => this.go(this.home());
    $("back").onclick = () => this.back();
    $("in").onclick = () => this.zoom(0.5);
    $("out").onclick = () => this.zoom(2);
    this.canvas.addEventListener("wheel", (e) => this.wheel(e), { passive: false });
    this.canvas.onpointerdown = (e) => this.press(e);
    this.canvas.onpointermove = (e) => this.move(e);
    this.canvas.onpointerup = (e) => this.release(e);
    this.canvas.onpointercancel = () => (this.box = null);
    this.canvas.onpointerleave = () => ($("tip").hidden = true);
    this.canvas.ondblclick = () => this.zoom(0.5, this.under);
    this.canvas.onkeydown = (e) => this.key(e);
    addEventListener("resize", () => this.draw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    this.choose(maps[0]);
  }

  whole() {
    return { low: 0, high: this.map.length, begin: 0, end: this.map.duration };
  }

  home() {
    return { ...this.whole(), low: this.map.home[0], high: this.map.home[1] };
  }

  choose(map) {
    this.map = map;
    this.past = [];
    this.view = this.home();
    this.draw();
  }

  // Show another part, within bounds: a page and a microsecond are the least.
  go(view, remember = true) {
    const fit = (from, to, most, least) => {
      const length = Math.min(most, Math.max(to - from, Math.min(least, most)));
      const begin = Math.max(0, Math.min(from, most - length));
      return [begin, begin + length];
    };
    if (remember) this.past.push(this.view);
    const [low, high] = fit(view.low, view.high, this.map.length, 4096);
    const [begin, end] = fit(view.begin, view.end, this.map.duration, 1000);
    this.view = { low, high, begin, end };
    this.draw();
  }

  back() {
    this.view = this.past.pop() ?? this.home();
    this.draw();
  }

  zoom(factor, at = null, axes = { time: true, address: true }) {
    const v = this.view, part = (from, to, middle) =>
      [middle - (middle - from) * factor, middle + (to - middle) * factor];
    const [begin, end] = axes.time
      ? part(v.begin, v.end, at ? at.time : (v.begin + v.end) / 2) : [v.begin, v.end];
    const [low, high] = axes.address
      ? part(v.low, v.high, at ? at.position : (v.low + v.high) / 2) : [v.low, v.high];
    this.go({ low, high, begin, end });
  }

  // What is under a pointer: pixels of the field, time, position and the region, if there is one.
  at(event) {
    const frame = this.canvas.getBoundingClientRect(), f = this.field, v = this.view;
    const x = event.clientX - frame.left - MARGIN.left, y = event.clientY - frame.top - MARGIN.top;
    const inside = x >= 0 && y >= 0 && x < f.width && y < f.height;
    const time = v.begin + (x / f.width) * (v.end - v.begin);
    const position = v.low + (y / f.height) * (v.high - v.low);
    const map = this.map, s = above(map.end, time);
    let row = -1;
    if (inside && s < map.begin.length && map.begin[s] <= time) {
      const i = above(map.high, position, map.offsets[s], map.offsets[s + 1]);
      if (i < map.offsets[s + 1] && map.low[i] <= position) row = i;
    }
    return { x, y, inside, time, position, s, row };
  }

  wheel(event) {
    const at = this.at(event);
    if (!at.inside) return;
    event.preventDefault();
    const time = !event.altKey, axes = { time, address: !event.shiftKey || !time };
    this.zoom(2 ** Math.max(-1, Math.min(1, (event.deltaY || event.deltaX) / 200)), at, axes);
    this.move(event);
  }

  press(event) {
    const at = this.at(event);
    if (!at.inside || event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.box = { from: at, to: at };
  }

  move(event) {
    const at = (this.under = this.at(event));
    if (this.box) {
      this.box.to = at;
      this.paint();
    }
    this.say(event, at);
  }

  release(event) {
    const box = this.box, f = this.field, v = this.view;
    this.box = null;
    if (!box) return;
    const within = (value, most) => Math.max(0, Math.min(value, most));
    const xs = [box.from.x, box.to.x].map((x) => within(x, f.width)).sort((a, b) => a - b);
    const ys = [box.from.y, box.to.y].map((y) => within(y, f.height)).sort((a, b) => a - b);
    if (xs[1] - xs[0] < 4 && ys[1] - ys[0] < 4) return this.paint();
    const time = (x) => v.begin + (x / f.width) * (v.end - v.begin);
    const place = (y) => v.low + (y / f.height) * (v.high - v.low);
    // A box that is flat one way means that way as a whole.
    const [begin, end] = xs[1] - xs[0] < 4 ? [v.begin, v.end] : xs.map(time);
    const [low, high] = ys[1] - ys[0] < 4 ? [v.low, v.high] : ys.map(place);
    this.go({ low, high, begin, end });
    this.move(event);
  }

  key(event) {
    const v = this.view, t = (v.end - v.begin) / 4, a = (v.high - v.low) / 4;
    const shift = (time, place) => this.go(
      { low: v.low + place, high: v.high + place, begin: v.begin + time, end: v.end + time }, false);
    const keys = {
      ArrowLeft: () => shift(-t, 0), ArrowRight: () => shift(t, 0), ArrowUp: () => shift(0, -a),
      ArrowDown: () => shift(0, a), "+": () => this.zoom(0.5), "=": () => this.zoom(0.5),
      "-": () => this.zoom(2), Home: () => this.go(this.home()), Backspace: () => this.back(),
    };
    if (event.ctrlKey || event.metaKey || !(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  }

  say(event, at) {
    const map = this.map, tip = $("tip");
    tip.hidden = !at.inside;
    if (!at.inside) return;
    const when = `${duration(at.time, (this.view.end - this.view.begin) / 1000)} after the start`;
    const lines = [];
    if (at.row < 0) {
      lines.push(["", "not monitored"], ["address", `0x${address(map, at.position).toString(16)}`]);
    } else {
      const i = at.row, low = address(map, map.low[i]);
      const bytes = map.high[i] - map.low[i];
      lines.push(
        ["mapping", map.names[map.code[i]] || "(not mapped)"],
        ["region", `${low.toString(16)}-${(low + BigInt(bytes)).toString(16)} (${size(bytes)})`],
        ["rate", `${percent(map.rate[i])} (${map.hits[i]} of ${map.most[at.s]} samples)`],
        ["age", map.age[i] ? duration((map.age[i] - 1) * 1e6) : "not in the recording"],
        ...(map.unseen[i] ? [["not looked at yet", percent(map.unseen[i] / 255)]] : []),
      );
    }
    const clock = new Date(Number(BigInt(facts.start_ns) / 1000000n) + at.time / 1e6);
    lines.push(["time", `${when} (${clock.toLocaleTimeString()})`]);
    tip.replaceChildren(...lines.flatMap(([name, text]) => {
      const dt = document.createElement("dt"), dd = document.createElement("dd");
      dt.textContent = name;
      dd.textContent = text;
      return [dt, dd];
    }));
    const beside = event.clientX + 18 + tip.offsetWidth < innerWidth;
    tip.style.left = `${beside ? event.clientX + 18 : Math.max(0, event.clientX - tip.offsetWidth - 12)}px`;
    tip.style.top = `${Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 4)}px`;
  }

  draw() {
    const canvas = this.canvas, scale = devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    this.context.setTransform(scale, 0, 0, scale, 0, 0);
    this.right = width < 640 ? 8 : MARGIN.right;
    const field = (this.field = {
      width: Math.max(CELL, width - MARGIN.left - this.right),
      height: Math.max(CELL, height - MARGIN.top - MARGIN.bottom),
    });
    const columns = Math.ceil(field.width / CELL), rows = Math.ceil(field.height / CELL);
    const rates = rasterise(this.map, this.view, columns, rows);
    const image = new ImageData(columns, rows), shades = facts.palette, top = this.map.top || 1;
    for (let c = 0; c < columns; c++)
      for (let r = 0; r < rows; r++) {
        const rate = rates[c * rows + r];
        if (Number.isNaN(rate)) continue;
        const at = 4 * (r * columns + c);
        if (rate === UNSEEN) {
          image.data.set([GREY, GREY, GREY, 255], at);
          continue;
        }
        const shade = 3 * Math.round(Math.min(1, rate / top) * 255);
        image.data.set([shades[shade], shades[shade + 1], shades[shade + 2], 255], at);
      }
    this.picture = new OffscreenCanvas(columns, rows);
    this.picture.getContext("2d").putImageData(image, 0, 0);
    this.paint();
  }

  paint() {
    const g = this.context, f = this.field, v = this.view, map = this.map;
    const style = getComputedStyle(document.body);
    const ink = style.getPropertyValue("--ink"), none = style.getPropertyValue("--none");
    g.clearRect(0, 0, this.canvas.clientWidth, this.canvas.clientHeight);
    g.fillStyle = none;
    g.fillRect(MARGIN.left, MARGIN.top, f.width, f.height);
    g.imageSmoothingEnabled = false;
    g.drawImage(this.picture, MARGIN.left, MARGIN.top, f.width, f.height);
    g.font = "12px ui-sans-serif, system-ui, sans-serif";
    g.fillStyle = ink;
    this.labels(g);
    const step = stepOf(((v.end - v.begin) * TICK) / f.width);
    g.textAlign = "center";
    for (let t = Math.ceil(v.begin / step) * step; t < v.end; t += step) {
      const x = MARGIN.left + ((t - v.begin) / (v.end - v.begin)) * f.width;
      g.fillRect(x, MARGIN.top + f.height, 1, 5);
      g.fillText(duration(Math.round(t), step), x, MARGIN.top + f.height + 19);
    }
    if (this.box) {
      const { from, to } = this.box;
      g.strokeStyle = "#fff";
      g.strokeRect(MARGIN.left + from.x, MARGIN.top + from.y, to.x - from.x, to.y - from.y);
      g.strokeStyle = "#000";
      g.setLineDash([4, 4]);
      g.strokeRect(MARGIN.left + from.x, MARGIN.top + from.y, to.x - from.x, to.y - from.y);
      g.setLineDash([]);
    }
    $("top").textContent = percent(map.top);
    $("shown").textContent =
      `${size(v.high - v.low)} of ${size(map.length)}, ` +
      `${duration(v.end - v.begin)} of ${duration(map.duration)}`;
    $("back").disabled = !this.past.length;
  }

  // Where mappings begin, and their names: of those too close to one another, the larger ones.
  labels(g) {
    const f = this.field, v = this.view, map = this.map, perByte = f.height / (v.high - v.low);
    const found = [];
    for (const segment of map.segments)
      segment.names.forEach(([at, code], i) => {
        const from = Math.max(v.low, segment.at + at);
        const to = Math.min(v.high, segment.at + (segment.names[i + 1]?.[0] ?? segment.size));
        if (from < to) found.push({ from, code, y: (from - v.low) * perByte, bytes: to - from });
      });
    const placed = [];
    for (const one of found.sort((a, b) => b.bytes - a.bytes)) {
      if (one.y > f.height - 4 || placed.some((y) => Math.abs(y - one.y) < LINE)) continue;
      placed.push(one.y);
      g.textAlign = "right";
      g.fillText(address(map, one.from).toString(16), MARGIN.left - 6, MARGIN.top + one.y + 10);
      g.textAlign = "left";
      if (this.right > 8)
        g.fillText(shortened(map.names[one.code] || "(not mapped)", 28),
          MARGIN.left + f.width + 6, MARGIN.top + one.y + 10);
    }
  }
}

async function start() {
  if (typeof DecompressionStream === "undefined") throw new Error("this browser is too old for it");
  const buffer = await unpack($("columns").textContent);
  const gradient = facts.palette.reduce((all, value, i) => {
    if (i % 3 === 0) all.push([]);
    all[all.length - 1].push(value);
    return all;
  }, []).filter((_, i) => i % 15 === 0).map((rgb) => `rgb(${rgb.join(",")})`).join(",");
  $("ramp").style.background = `linear-gradient(to right, ${gradient})`;
  globalThis.page = new Page(facts.targets.map((target) => load(target, buffer)));
  document.body.dataset.ready = "yes";
}

start().catch((error) => {
  $("shown").textContent = `The heat map cannot be drawn: ${error.message}`;
});
