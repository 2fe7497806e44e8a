/** @file What servers of fault scripts do wrong. */
import type { Behaviour, Request } from '../sources/file-server.ts';

export const pick = <T>(random: () => number, values: readonly T[]): T =>
  values[Math.floor(random() * values.length)]!;

/** What a server or the way to it does to some requests. */
export function faultsOf(random: () => number, isOver: () => boolean, mayCorrupt: boolean): Behaviour {
  const chance = pick(random, [0.05, 0.15, 0.3, 0.5]);
  const has = {
    busy: random() < 0.6,
    cut: random() < 0.6,
    corrupt: mayCorrupt && random() < 0.6,
    slow: random() < 0.2,
  };
  const happens = (kind: keyof typeof has) => has[kind] && !isOver() && random() < chance;
  const isFile = ({ url }: Request) => !url.startsWith('/api/'); // nothing could tell a hub's wrong word from its right one
  return {
    ranges: random() < 0.85,
    status: () => (happens('busy') ? pick(random, [429, 500, 503]) : undefined),
    cutAfter: () => (happens('cut') ? Math.floor(random() * 60_000) : undefined),
    corruptAt: (request, length) =>
      isFile(request) && length > 0 && happens('corrupt') ? Math.floor(random() * length) : undefined,
    delay: () => (happens('slow') ? 2 : 0),
  };
}
