/**
 * @file Errors as they cross between a page and its worker. Structured cloning keeps no class but the language's own and no field
 * beside the message, so they cross as plain data, and are made again on the other side: class, fields, stack and cause.
 */
import { ChatTemplateError, TokenizerError } from '../../tokenizer/index.ts';
import * as own from '../errors.ts';

export interface PlainError {
  className: string;
  message: string;
  stack: string | undefined;
  /** What the class adds, `name` among it. */
  fields: Record<string, unknown>;
  cause: PlainError | undefined;
}

/** Every class whose `instanceof` holds on the other side; of another one, the name stays. */
const CLASSES: Readonly<Record<string, { prototype: object }>> = {
  ...own,
  ChatTemplateError,
  TokenizerError,
  TypeError,
  RangeError,
  SyntaxError,
};

/** @param error whatever was thrown */
export function toPlainError(error: unknown): PlainError {
  if (!(error instanceof Error)) {
    return { className: 'Error', message: String(error), stack: undefined, fields: {}, cause: undefined };
  }
  const { name, message, stack, cause } = error;
  const className = error instanceof DOMException ? 'DOMException' : (error.constructor?.name ?? name);
  const fields = Object.entries({ ...error, name }).filter(([, value]) => isPlain(value));
  return {
    className: Object.entries(CLASSES).find(([, one]) => one === error.constructor)?.[0] ?? className,
    message,
    stack,
    fields: Object.fromEntries(fields),
    cause: cause === undefined ? undefined : toPlainError(cause),
  };
}

export function fromPlainError({ className, message, stack, fields, cause }: PlainError): Error {
  const options = cause && { cause: fromPlainError(cause) };
  if (className === 'DOMException') return new DOMException(message, String(fields.name));
  const error = Object.assign(new Error(message, options), fields);
  if (stack !== undefined) error.stack = stack;
  const known = Object.hasOwn(CLASSES, className) ? CLASSES[className] : undefined;
  return known ? Object.setPrototypeOf(error, known.prototype) : error;
}

function isPlain(value: unknown): boolean {
  return value === null || ['string', 'number', 'boolean', 'undefined'].includes(typeof value);
}
