/** @file The one table of debug flags, as pages give them in the URL query: `?debug=plan,wgsl&fuse=0&kernel=linear:tile`. */
import { InvalidInputError } from '../errors.ts';
import type { DebugFlags } from './types.ts';

const PRINTS = ['plan', 'wgsl'] as const;
const SWITCHES = ['reuse', 'fuse', 'eager', 'profile', 'subgroups', 'f16', 'selfTest', 'tune'] as const;

/** Reads the flags among other query parameters, which are left alone. @throws InvalidInputError for a value that no flag has. */
export function parseDebugFlags(query: URLSearchParams): DebugFlags {
  const flags: DebugFlags = {};
  const print = query.get('debug');
  if (print) {
    flags.print = print.split(',').map((word) => {
      const known = PRINTS.find((p) => p === word);
      if (!known) throw new InvalidInputError(`debug=${word} is unknown; there are ${PRINTS.join(', ')}`);
      return known;
    });
  }
  for (const name of SWITCHES) {
    const value = query.get(name);
    if (value === null) continue;
    if (value !== '0' && value !== '1') throw new InvalidInputError(`${name}=${value}, wanted 0 or 1`);
    flags[name] = value === '1';
  }
  const kernel = query.get('kernel');
  if (kernel) {
    flags.kernel = Object.fromEntries(
      kernel.split(',').map((pair) => {
        const [kind, variant] = pair.split(':');
        if (!kind || !variant)
          throw new InvalidInputError(`kernel=${pair}, wanted op:variant, e.g. linear:tile`);
        return [kind, variant];
      }),
    );
  }
  return flags;
}
