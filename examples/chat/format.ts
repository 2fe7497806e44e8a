/** @file Numbers in words for readers: bytes, durations, rates; and formats of weights. Pure. */
import type { LoadedFormat } from '../../src/index.ts';

const UNITS = ['bytes', 'kB', 'MB', 'GB', 'TB'];

/** Decimal units with up to three digits: `12.3 MB`. */
export function formatBytes(bytes: number): string {
  const step = bytes < 1000 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log10(bytes) / 3));
  return `${formatNumber(bytes / 1000 ** step)} ${UNITS[step]}`;
}

/** `85 ms`, `1.2 s`, `2 min 5 s`. */
export function formatDuration(milliseconds: number): string {
  if (milliseconds < 999.5) return `${Math.round(milliseconds)} ms`;
  if (milliseconds < 59_950) return `${(milliseconds / 1000).toFixed(1)} s`;
  return formatSeconds(milliseconds / 1000);
}

/** Whole seconds: `5 s`, `2 min 5 s`, `1 h 2 min`. */
export function formatSeconds(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor(whole / 60) % 60} min`;
}

/** About three digits, without needless zeros: `3.21`, `32.1`, `321`. */
export function formatNumber(value: number): string {
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return value.toLocaleString('en', { maximumFractionDigits: digits });
}

/** `as published`, `in 8 bits`. */
export function formatName(weights: LoadedFormat = 'published'): string {
  const bits = /^int(\d+)$/.exec(weights)?.[1];
  if (bits) return `in ${bits} bits`;
  return weights === 'published' ? 'as published' : `in ${weights}`;
}
