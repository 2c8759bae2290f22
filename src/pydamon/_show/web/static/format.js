// Numbers and names as people read them.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

export function size(bytes) {
  let number = bytes, unit = 0;
  while (number >= 1023.5 && unit < UNITS.length - 1) {
    number /= 1024;
    unit++;
  }
  const digits = number >= 100 || unit === 0 ? 0 : 1;
  return `${number.toFixed(digits).replace(/\.0$/, "")} ${UNITS[unit]}`;
}

export function percent(share) {
  const value = share * 100;
  if (value === 0) return "0 %";
  return `${value < 9.95 ? Number(value.toPrecision(2)) : value.toFixed(0)} %`;
}

export function frequency(hz) {
  return `${hz > 0 && hz < 9.95 ? Number(hz.toPrecision(2)) : Math.round(hz)} Hz`;
}

// How many pages a second come back.
export function rate(perSecond) {
  if (perSecond > 0 && perSecond < 0.01) return "<0.01 pages/s";
  return `${perSecond < 9.95 ? Number(perSecond.toPrecision(2)) : Math.round(perSecond)} pages/s`;
}

export function duration(ms) {
  if (ms < 999.5) return `${Number(ms.toPrecision(3))} ms`;
  if (ms < 59950) return `${Number((ms / 1000).toPrecision(3))} s`;
  const minutes = Math.round(ms / 1000 / 60);
  if (minutes < 60) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function clock(ms) {
  return new Date(ms).toLocaleTimeString([], { hour12: false });
}

// A page of the address space as an address: beyond 2^53 a number would lose its last digits.
export function address(page) {
  return (BigInt(page) * 4096n).toString(16);
}

export function mappingName(name) {
  return name || "(not mapped)";
}
