/** @file A compiled template: the entry of the engine. Jinja2 3.1 as transformers sets it up, for untrusted templates. */
import { JinjaError } from './error.ts';
import { freeNames } from './free-names.ts';
import { run } from './interpreter.ts';
import { parse } from './parser.ts';

export interface Template {
  /** Variables that the template takes from outside (functions such as `range` among them). */
  readonly freeNames: ReadonlySet<string>;
  /** The text for these JSON-like variables. Throws only JinjaError. */
  render(variables: Readonly<Record<string, unknown>>, now?: () => Date): string;
}

/** Parses a template once for any number of renders. Throws only JinjaError. */
export function compile(source: string): Template {
  const body = guarded(() => parse(source));
  return {
    freeNames: guarded(() => freeNames(body)),
    render: (variables, now = () => new Date()) => guarded(() => run(body, variables, now)),
  };
}

/** A full JavaScript stack, or a getter of the caller's messages that throws, becomes a JinjaError too. */
function guarded<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof JinjaError) throw error;
    if (error instanceof RangeError) throw new JinjaError('limit', 'nested too deep', undefined, error);
    throw new JinjaError('value', error instanceof Error ? error.message : String(error), undefined, error);
  }
}
