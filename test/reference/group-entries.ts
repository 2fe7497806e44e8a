/** @file The entries of each expert in order, and tiles of at most `tileRows` of them: (expert, first entry, number of entries). */
export function groupEntries(
  experts: ArrayLike<number>,
  numExperts: number,
  tileRows: number,
): { entries: number[]; tiles: [expert: number, first: number, count: number][] } {
  const entries: number[] = [];
  const tiles: [number, number, number][] = [];
  for (let expert = 0; expert < numExperts; expert++) {
    let first = entries.length;
    for (let entry = 0; entry < experts.length; entry++) {
      if (experts[entry] === expert) entries.push(entry);
    }
    for (; first < entries.length; first += tileRows) {
      tiles.push([expert, first, Math.min(tileRows, entries.length - first)]);
    }
  }
  return { entries, tiles };
}
