/** @file Two shorthands for the DOM: find an element of index.html, and make an element. */

/** The element with this id. Throws if index.html does not have it, or if it is another kind of element. */
export function byId<T extends Element>(id: string, kind: new () => T): T {
  const element = document.getElementById(id);
  if (element instanceof kind) return element;
  throw new Error(`index.html needs a ${kind.name} with the id "${id}"`);
}

/** A new element with properties set and children appended; strings become text, never HTML. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}
