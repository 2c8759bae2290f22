"use strict";
const facts = JSON.parse(document.getElementById("facts").textContent);
const children = facts.parent.map(() => []);
facts.parent.forEach((parent, node) => parent >= 0 && children[parent].push(node));
const graph = document.getElementById("graph");
const weight = document.getElementById("weight");
const find = document.getElementById("find");
const ROW = 21;
const LEAST = 2;
const ENDS = [[230, 140, 50], [215, 215, 215], [70, 130, 190]];
let root = 0;

function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; bytes >= 1024 && unit < units.length - 1; unit += 1) bytes /= 1024;
  return `${bytes >= 100 || unit === 0 ? bytes.toFixed(0) : bytes.toPrecision(3)} ${units[unit]}`;
}

function colour(share) {
  const place = Math.min(1, Math.max(0, share)) * 2;
  const low = Math.min(1, Math.floor(place));
  const mixed = ENDS[low].map((from, i) => Math.round(from + (ENDS[low + 1][i] - from) * (place - low)));
  return `rgb(${mixed.join(", ")})`;
}

function about(node) {
  const shared = facts.shared[node] ? `, of which ${size(facts.shared[node])} on pages of several owners` : "";
  return `${facts.label[node]}: ${size(facts.idle[node])} idle, ${size(facts.used[node])} in use${shared}; ` +
    `${size(facts.resident[node])} in memory, ${size(facts.allocated[node])} allocated`;
}

function add(node, left, width, depth) {
  const frame = document.createElement("button");
  const known = facts.idle[node] + facts.used[node];
  frame.className = "frame";
  frame.textContent = width > 30 ? facts.label[node] : "";
  frame.title = about(node);
  frame.setAttribute("aria-label", about(node));
  frame.style.cssText = `left:${left}px;top:${depth * ROW}px;width:${Math.max(1, width)}px;` +
    `background:${colour(known ? facts.idle[node] / known : 0.5)};color:#1b1b1b`;
  if (find.value && !facts.label[node].toLowerCase().includes(find.value.toLowerCase())) frame.classList.add("faded");
  frame.addEventListener("click", () => { root = node; draw(); });
  graph.append(frame);
}

function draw() {
  const sizes = facts[weight.value];
  const way = [];
  for (let node = root; node >= 0; node = facts.parent[node]) way.unshift(node);
  const full = graph.clientWidth;
  const scale = full / Math.max(1, sizes[root]);
  graph.replaceChildren();
  way.slice(0, -1).forEach((node, depth) => add(node, 0, full, depth));
  let deepest = way.length;
  const queue = [[root, 0, way.length - 1]];
  for (const [node, left, depth] of queue) {
    add(node, left, sizes[node] * scale, depth);
    deepest = Math.max(deepest, depth + 1);
    let at = left;
    const ordered = [...children[node]].sort((a, b) => sizes[b] - sizes[a]);
    for (const child of ordered) {
      if (sizes[child] * scale >= LEAST) queue.push([child, at, depth + 1]);
      at += sizes[child] * scale;
    }
  }
  graph.style.height = `${deepest * ROW}px`;
  document.getElementById("shown").textContent = about(root);
}

document.getElementById("all").addEventListener("click", () => { root = 0; draw(); });
weight.addEventListener("change", draw);
find.addEventListener("input", draw);
window.addEventListener("resize", draw);
draw();
