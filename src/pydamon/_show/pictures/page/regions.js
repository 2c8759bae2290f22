// The regions in the page, and their mean access rates in the cells of a view.

const UNSEEN = -1;
const $ = (id) => document.getElementById(id);
const facts = JSON.parse($("facts").textContent);
const types = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, f8: Float64Array };

async function unpack(text) {
  const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return await new Response(stream).arrayBuffer();
}

// The columns of a target: positions on its axis in bytes, times in ns since the first snapshot.
function load(target, buffer) {
  const column = (name) => {
    const [type, at, length] = target.columns[name];
    return new types[type](buffer, at, length);
  };
  const counts = column("counts"), gaps = column("gaps"), sizes = column("sizes");
  const steps = column("rate");
  const begin = column("begin"), end = column("end");
  const low = new Float64Array(gaps.length), high = new Float64Array(gaps.length);
  const rate = new Float32Array(gaps.length);
  const offsets = new Uint32Array(counts.length + 1);
  let row = 0, top = 0;
  for (let s = 0; s < counts.length; s++) {
    let at = 0;
    for (const last = row + counts[s]; row < last; row++) {
      low[row] = at += gaps[row] * target.unit;
      high[row] = at += sizes[row] * target.unit;
      rate[row] = steps[row] / target.steps;
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
    ...target, low, high, rate, top, offsets, begin, end, segments, length,
    sampling: column("sampling"), age: column("age"), unseen: column("unseen"), code: column("code"),
    duration: end[end.length - 1],
  };
}

// The first index of a sorted array whose value is above a bound.
function above(array, bound, from = 0, to = array.length) {
  while (from < to) {
    const middle = (from + to) >> 1;
    if (array[middle] <= bound) from = middle + 1;
    else to = middle;
  }
  return from;
}

// The address at a position on the axis.
function address(map, position) {
  const segment = map.segments.findLast((s) => s.at <= position) ?? map.segments[0];
  return segment.start + BigInt(Math.floor(position - segment.at));
}

// The name of a region's mapping.
function mappingOf(map, code) {
  return map.names[code] || "(not mapped)";
}

// Mean access rates of the cells of a view: Float32Array by column, then row; NaN where nothing
// was monitored, and UNSEEN where no probe had looked at more than half of the cell.
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
