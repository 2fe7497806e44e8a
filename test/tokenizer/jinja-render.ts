/** @file Templates as tests render them: at one time, and with the error of those that must have one. */
import { JinjaError } from '../../tokenizer/jinja/error.ts';
import { compile } from '../../tokenizer/jinja/template.ts';

export const NOW = () => new Date(2026, 0, 15, 12, 0);
export const render = (template: string, variables: Record<string, unknown> = {}) =>
  compile(template).render(variables, NOW);

/** The error of a template that must have one. */
export function errorOf(template: string, variables: Record<string, unknown> = {}): JinjaError {
  try {
    render(template, variables);
  } catch (error) {
    if (error instanceof JinjaError) return error;
    throw error;
  }
  throw new Error(`no error from ${template.slice(0, 100)}`);
}
