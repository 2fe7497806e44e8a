/**
 * @file Errors as they cross between a page and its worker. Structured cloning keeps only JavaScript's own classes, and no field
 * but the message. So errors cross as plain data, and are rebuilt on the other side: class, fields, stack and cause.
 */
import { ChatTemplateError, TokenizerError } from '../../tokenizer/index.ts';
import * as own from '../errors.ts';

export interface PlainError {
  className: string;
  message: string;
  stack: string | undefined;
  /** What the class adds, including `name`. */
  fields: Record<string, unknown>;
  cause: PlainError | undefined;
}

/** The classes for which `instanceof` works on the other side; other errors only keep their name. */
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
