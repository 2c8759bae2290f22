// Numbers and names as people read them.
"use strict";

function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (bytes >= 1023.5 && unit < units.length - 1) (bytes /= 1024), unit++;
  return `${+bytes.toFixed(bytes >= 100 || !unit ? 0 : 1)} ${units[unit]}`;
}

// A time with as many digits as tell it from another one that is a step away.
function duration(ns, step = ns) {
  if (!ns) return "0 s";
  if (ns >= 60e9 && step >= 1e9) {
    const total = Math.round(ns / 1e9), parts = [];
    for (const [unit, seconds] of [["h", 3600], ["min", 60], ["s", 1]]) {
      const count = Math.floor(total / seconds) % (unit === "h" ? Infinity : 60);
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

function frequency(hz) {
  return `${hz && hz < 9.95 ? +hz.toPrecision(2) : Math.round(hz)} Hz`;
}

// The next longer time whose multiples are round numbers.
function roundStep(ns) {
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
