/**
 * @file `object.name` and `object[key]`, with the rules of Jinja2's sandbox: methods that change a list or dict and
 * names with double underscores are refused, and nothing of JavaScript's own objects can be reached.
 */
import { DICT_METHODS, LIST_METHODS, STR_METHODS } from './methods.ts';
import { itemAt } from './operators.ts';
import type { Method } from './signature.ts';
import {
  HostObject,
  hashableOf,
  Namespace,
  numberOf,
  type Runtime,
  repr,
  sweepCost,
  Tuple,
  textOf,
  typeName,
  Undefined,
  type Value,
} from './values.ts';

const MUTATORS = new Map([
  ['list', new Set(['append', 'clear', 'extend', 'insert', 'pop', 'remove', 'reverse', 'sort'])],
  ['dict', new Set(['clear', 'pop', 'popitem', 'setdefault', 'update'])],
]);

/** Python's getattr: attributes and methods, no items. Returns an Undefined, not an error, when there is none. */
export function attributeOf(object: Value, name: string): Value {
  const found = findAttribute(object, name);
  return found === undefined ? missing(object, name) : found;
}

function missing(object: Value, name: string): Undefined {
  return new Undefined(
    `${object === null ? "'None'" : `'${typeName(object)} object'`} has no attribute '${name}'`,
  );
}

function findAttribute(object: Value, name: string): Value | undefined {
  if (object instanceof Undefined) object.fail();
  if (MUTATORS.get(typeName(object))?.has(name) || /^__\w+__$/.test(name)) {
    return new Undefined(
      `access to attribute '${name}' of '${typeName(object)}' object is unsafe.`,
      'security',
    );
  }
  if (object instanceof Namespace) return object.fields.get(name);
  if (object instanceof HostObject) return object.attribute(name);
  const text = textOf(object);
  if (text !== null) return bound(STR_METHODS.get(name), text, sweepCost(text.length));
  if (Array.isArray(object)) return bound(LIST_METHODS.get(name), object);
  if (object instanceof Map) return bound(DICT_METHODS.get(name), object);
  if (!(object instanceof Tuple)) return undefined;
  if (object.names.includes(name)) return object.items[object.names.indexOf(name)];
  return name === 'copy' ? undefined : bound(LIST_METHODS.get(name), object.items);
}

function bound<Self>(method: Method<Self> | undefined, self: Self, cost = 0): Value | undefined {
  if (!method) return undefined;
  return new HostObject('method', (runtime, args, kwargs) => {
    runtime.charge(cost);
    return method(runtime, self, args, kwargs);
  });
}

/** `object.name`: an attribute or method first, then a dict item. Undefined, not an error, when there is none. */
export function getAttribute(object: Value, name: string): Value {
  const found = findAttribute(object, name);
  if (found !== undefined) return found;
  const item = object instanceof Map ? (object.get(name) as Value | undefined) : undefined;
  return item === undefined ? missing(object, name) : item;
}

/** `object[key]`: an item first, then, for a text key, an attribute. Undefined, not an error, when there is none. */
export function getItem(object: Value, key: Value, runtime: Runtime): Value {
  if (object instanceof Undefined) object.fail();
  const found = findItem(object, key, runtime);
  if (found !== undefined) return found;
  const name = textOf(key);
  if (name !== null) return attributeOf(object, name);
  return new Undefined(
    `${object === null ? 'None' : `${typeName(object)} object`} has no element ${repr(key, runtime)}`,
  );
}

function findItem(object: Value, key: Value, runtime: Runtime): Value | undefined {
  if (object instanceof Map) {
    const known = hashableOf(key);
    return known === undefined ? undefined : object.get(known);
  }
  const index = numberOf(key);
  return typeof index === 'bigint' ? itemAt(object, index, runtime) : undefined;
}
