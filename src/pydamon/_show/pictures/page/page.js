// The page: which target and which part of it is shown, and what the pointer and the keys do.

class Page {
  constructor(maps) {
    this.maps = maps;
    this.painter = new Painter($("map"));
    this.past = [];
    for (const [i, map] of maps.entries()) $("target").add(new Option(map.label, i));
    $("target").hidden = maps.length < 2;
    $("target").onchange = () => this.choose(maps[$("target").value]);
    $("all").onclick = () => this.go(this.whole());
    $("hottest").onclick = () => this.go(this.home());
    $("back").onclick = () => this.back();
    $("in").onclick = () => this.zoom(0.5);
    $("out").onclick = () => this.zoom(2);
    const canvas = this.painter.canvas;
    canvas.addEventListener("wheel", (e) => this.wheel(e), { passive: false });
    canvas.onpointerdown = (e) => this.press(e);
    canvas.onpointermove = (e) => this.move(e);
    canvas.onpointerup = (e) => this.release(e);
    canvas.onpointercancel = () => (this.box = null);
    canvas.onpointerleave = () => ($("tip").hidden = true);
    canvas.ondblclick = () => this.zoom(0.5, this.under);
    canvas.onkeydown = (e) => this.key(e);
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

  // Show another view, within bounds: at least a page and a microsecond.
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

  draw() {
    const { map, view } = this;
    this.painter.draw(map, view);
    $("top").textContent = percent(map.top);
    $("shown").textContent =
      `${size(view.high - view.low)} of ${size(map.length)}, ` +
      `${duration(view.end - view.begin)} of ${duration(map.duration)}`;
    $("back").disabled = !this.past.length;
  }

  zoom(factor, at = null, axes = { time: true, address: true }) {
    const view = this.view, part = (from, to, middle) =>
      [middle - (middle - from) * factor, middle + (to - middle) * factor];
    const [begin, end] = axes.time
      ? part(view.begin, view.end, at ? at.time : (view.begin + view.end) / 2)
      : [view.begin, view.end];
    const [low, high] = axes.address
      ? part(view.low, view.high, at ? at.position : (view.low + view.high) / 2)
      : [view.low, view.high];
    this.go({ low, high, begin, end });
  }

  // The place under a pointer: pixels of the field, time, position, snapshot, and region or -1.
  at(event) {
    const frame = this.painter.canvas.getBoundingClientRect();
    const { map, view } = this, { width, height } = this.painter.field;
    const x = event.clientX - frame.left - MARGIN.left, y = event.clientY - frame.top - MARGIN.top;
    const inside = x >= 0 && y >= 0 && x < width && y < height;
    const time = view.begin + (x / width) * (view.end - view.begin);
    const position = view.low + (y / height) * (view.high - view.low);
    const snapshot = above(map.end, time);
    let region = -1;
    if (inside && snapshot < map.begin.length && map.begin[snapshot] <= time) {
      const beyond = map.offsets[snapshot + 1];
      const i = above(map.high, position, map.offsets[snapshot], beyond);
      if (i < beyond && map.low[i] <= position) region = i;
    }
    return { x, y, inside, time, position, snapshot, region };
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
    this.painter.canvas.setPointerCapture(event.pointerId);
    this.box = { from: at, to: at };
  }

  move(event) {
    const at = (this.under = this.at(event));
    if (this.box) {
      this.box.to = at;
      this.painter.paint(this.box);
    }
    this.tell(event, at);
  }

  release(event) {
    const { box, view } = this, { width, height } = this.painter.field;
    this.box = null;
    if (!box) return;
    const clamp = (value, most) => Math.max(0, Math.min(value, most));
    const xs = [box.from.x, box.to.x].map((x) => clamp(x, width)).sort((a, b) => a - b);
    const ys = [box.from.y, box.to.y].map((y) => clamp(y, height)).sort((a, b) => a - b);
    if (xs[1] - xs[0] < 4 && ys[1] - ys[0] < 4) return this.painter.paint(null);
    const time = (x) => view.begin + (x / width) * (view.end - view.begin);
    const position = (y) => view.low + (y / height) * (view.high - view.low);
    // A box without width or height leaves that axis as it is.
    const [begin, end] = xs[1] - xs[0] < 4 ? [view.begin, view.end] : xs.map(time);
    const [low, high] = ys[1] - ys[0] < 4 ? [view.low, view.high] : ys.map(position);
    this.go({ low, high, begin, end });
    this.move(event);
  }

  key(event) {
    const view = this.view;
    const timeStep = (view.end - view.begin) / 4, addressStep = (view.high - view.low) / 4;
    const shift = (time, bytes) => this.go({
      low: view.low + bytes, high: view.high + bytes,
      begin: view.begin + time, end: view.end + time,
    }, false);
    const keys = {
      ArrowLeft: () => shift(-timeStep, 0), ArrowRight: () => shift(timeStep, 0),
      ArrowUp: () => shift(0, -addressStep), ArrowDown: () => shift(0, addressStep),
      "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2),
      Home: () => this.go(this.home()), Backspace: () => this.back(),
    };
    if (event.ctrlKey || event.metaKey || !(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  }

  // Say in the tooltip what lies under the pointer.
  tell(event, at) {
    const tip = $("tip");
    tip.hidden = !at.inside;
    if (!at.inside) return;
    tip.replaceChildren(...this.lines(at).flatMap(([name, text]) => {
      const term = document.createElement("dt"), description = document.createElement("dd");
      term.textContent = name;
      description.textContent = text;
      return [term, description];
    }));
    const fits = event.clientX + 18 + tip.offsetWidth < innerWidth;
    tip.style.left = `${fits ? event.clientX + 18 : Math.max(0, event.clientX - tip.offsetWidth - 12)}px`;
    tip.style.top = `${Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 4)}px`;
  }

  // Names and texts of the tooltip; a cell of a heat map has no samples and no age of its own.
  lines({ region: i, position, snapshot, time }) {
    const map = this.map, step = (this.view.end - this.view.begin) / 1000;
    const clock = new Date(Number(BigInt(facts.start_ns) / 1000000n) + time / 1e6);
    const when = `${duration(time, step)} after the start (${clock.toLocaleTimeString()})`;
    if (i < 0)
      return [["", "not monitored"], ["address", `0x${address(map, position).toString(16)}`],
        ["time", when]];
    const low = address(map, map.low[i]), bytes = map.high[i] - map.low[i];
    const range = `${low.toString(16)}-${(low + BigInt(bytes)).toString(16)} (${size(bytes)})`;
    const rate = percent(map.rate[i]);
    const lines = [["mapping", mappingOf(map, map.code[i])]];
    if (map.cells) lines.push(["addresses", range], ["mean rate", rate]);
    else
      lines.push(["region", range],
        ["rate", `${rate} of samples, ${frequency(map.rate[i] * 1e9 / map.sampling[snapshot])}`],
        ["age", map.age[i] ? duration((map.age[i] - 1) * 1e6) : "not in the recording"]);
    if (map.unseen[i]) lines.push(["not looked at yet", percent(map.unseen[i] / 255)]);
    return [...lines, ["time", when]];
  }
}

// The ramp of the legend: every fifth colour of the palette.
function ramp() {
  const colours = [];
  for (let i = 0; i < facts.palette.length; i += 15)
    colours.push(`rgb(${facts.palette.slice(i, i + 3).join(",")})`);
  return `linear-gradient(to right, ${colours.join(",")})`;
}

async function start() {
  if (typeof DecompressionStream === "undefined") throw new Error("this browser is too old for it");
  const buffer = await unpack($("columns").textContent);
  $("ramp").style.background = ramp();
  globalThis.page = new Page(facts.targets.map((target) => load(target, buffer)));
  document.body.dataset.ready = "yes";
}

start().catch((error) => {
  $("shown").textContent = `The heat map cannot be drawn: ${error.message}`;
});
