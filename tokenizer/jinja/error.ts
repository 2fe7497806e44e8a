/** @file The one error that the Jinja engine throws: what kind of failure, the message Python would give, the line. */

/** `raised`: the template called raise_exception. `limit`: too many steps, too long a text, or too deep a nesting. */
export type JinjaErrorKind = 'syntax' | 'undefined' | 'type' | 'value' | 'security' | 'raised' | 'limit';

export class JinjaError extends Error {
  override name = 'JinjaError';
  readonly kind: JinjaErrorKind;
  /** Line of the template, from 1; set by the first code that knows it. */
  line: number | undefined;

  constructor(kind: JinjaErrorKind, message: string, line?: number, cause?: unknown) {
    super(message, { cause });
    this.kind = kind;
    this.line = line;
  }
}
