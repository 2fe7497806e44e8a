/** @file The `loop` variable of a `for`. */
import {
  equals,
  HostObject,
  type Native,
  orElse,
  Tuple,
  typeError,
  Undefined,
  type Value,
} from './values.ts';

/**
 * The object and the function that moves it to an item. `recurse` renders the loop over other items: a recursive
 * loop's `loop(items)`; null where the loop is not recursive.
 */
export function loopObject(
  items: readonly Value[],
  depth0: number,
  recurse: ((items: Value) => Value) | null,
): { object: HostObject; moveTo: (index: number) => void } {
  let index = 0;
  let changed: Tuple | null = null;
  const numItems = items.length;

  const cycle: Native = (_, args) =>
    args.length > 0 ? (args[index % args.length] as Value) : typeError('no items for cycling given');
  const hasChanged: Native = (runtime, args) => {
    const now = new Tuple([...args]);
    const isSame = changed !== null && equals(changed, now, runtime);
    changed = now;
    return !isSame;
  };
  const again: Native = (_, [inner]) => {
    if (!recurse) return typeError("The loop must have the 'recursive' marker to be called recursively.");
    return inner === undefined ? typeError('loop() needs the items') : recurse(inner);
  };
  const attributes: Record<string, () => Value> = {
    index: () => BigInt(index + 1),
    index0: () => BigInt(index),
    revindex: () => BigInt(numItems - index),
    revindex0: () => BigInt(numItems - index - 1),
    first: () => index === 0,
    last: () => index === numItems - 1,
    length: () => BigInt(numItems),
    depth: () => BigInt(depth0 + 1),
    depth0: () => BigInt(depth0),
    previtem: () => orElse(items[index - 1], new Undefined('there is no previous item')),
    nextitem: () => orElse(items[index + 1], new Undefined('there is no next item')),
    cycle: () => new HostObject('method', cycle),
    changed: () => new HostObject('method', hasChanged),
  };
  const object = new HostObject('LoopContext', again, (name) =>
    Object.hasOwn(attributes, name) ? attributes[name]?.() : undefined,
  );
  return {
    object,
    moveTo: (next) => {
      index = next;
    },
  };
}
