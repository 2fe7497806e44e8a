/**
 * @file Messages -> prompt text, as Hugging Face's `apply_chat_template` does it: finds the template of a checkpoint,
 * gives it its variables, cuts the text after a message that is to be continued, and finds what the template can do.
 * Knows no token ids and no particular models; the template language itself is in jinja/.
 */
import { ChatTemplateError } from './errors.ts';
import { JinjaError, type JinjaErrorKind } from './jinja/error.ts';
import { compile, type Template } from './jinja/template.ts';
import { strip } from './jinja/text.ts';

export interface ChatTemplateSource {
  /** The text of chat_template.jinja; wins over tokenizer_config.json. */
  readonly chatTemplateJinja?: string;
  /** The parsed tokenizer_config.json: `chat_template` (a text, or a list of named ones) and the special tokens. */
  readonly tokenizerConfig?: unknown;
  /** The clock of `strftime_now`. Default: the real one. */
  readonly now?: () => Date;
}

export interface RenderOptions {
  /** JSON schemas of the tools, in the form that the template wants (OpenAI's for all common ones). */
  readonly tools?: readonly unknown[] | null;
  /** Ends the text with the start of an assistant message. Default false, as in transformers. */
  readonly addGenerationPrompt?: boolean;
  /** Ends the text with the last message's own text, so that the model goes on with it. */
  readonly continueFinalMessage?: boolean;
  /** Further variables of the template: `enable_thinking`, `thinking`, `documents`, ... */
  readonly templateArgs?: Readonly<Record<string, unknown>>;
}

/** What a template reads. This is found in its source, not in the name of the model. */
export interface ChatTemplateAbilities {
  /** It reads `tools`; otherwise tools given to it are silently ignored. */
  readonly readsTools: boolean;
  /** It reads `enable_thinking` (Qwen3). */
  readonly readsEnableThinking: boolean;
  /** It reads `thinking` (DeepSeek-V3.1). */
  readonly readsThinking: boolean;
}

/** What a model writes before and after its thinking: `<think>`, `</think>`. */
export interface ThinkTags {
  readonly open: string;
  readonly close: string;
}

/** Where a prompt leaves the model: inside a think block, after a closed one, or with none in sight. */
export type ThinkState = 'open' | 'closed' | 'none';

export class ChatTemplate {
  /** What the checkpoint's templates read. */
  readonly abilities: ChatTemplateAbilities;
  /** The source of the template that is used when tools are given. */
  readonly source: string;

  private readonly plain: Template;
  private readonly withTools: Template;
  private readonly specialTokens: Readonly<Record<string, string>>;
  private readonly now: (() => Date) | undefined;

  private constructor(
    source: string,
    plain: Template,
    withTools: Template,
    specialTokens: Record<string, string>,
    now?: () => Date,
  ) {
    this.source = source;
    this.plain = plain;
    this.withTools = withTools;
    this.specialTokens = specialTokens;
    this.now = now;
    const names = [...plain.freeNames, ...withTools.freeNames];
    this.abilities = {
      readsTools: names.includes('tools'),
      readsEnableThinking: names.includes('enable_thinking'),
      readsThinking: names.includes('thinking'),
    };
  }

  /**
   * Compiles the template of a checkpoint. Of a list, `tool_use` is used when tools are given and `default` otherwise.
   * Throws ChatTemplateError when there is no template or its syntax is wrong.
   */
  static fromCheckpoint({ chatTemplateJinja, tokenizerConfig, now }: ChatTemplateSource): ChatTemplate {
    const config = isRecord(tokenizerConfig) ? tokenizerConfig : {};
    const sources = namedTemplates(chatTemplateJinja ?? config.chat_template);
    const [main, toolUse] = [sources.get('default'), sources.get('tool_use')];
    if (main === undefined) {
      const found =
        sources.size > 0 ? `only templates named ${[...sources.keys()].join(', ')}` : 'no chat template';
      throw new ChatTemplateError(
        `The checkpoint has ${found}; wanted chat_template.jinja, or chat_template in tokenizer_config.json (a text, or ` +
          'a list with one named "default"). A base model has none: give it a prompt of your own instead.',
      );
    }
    const plain = explained(() => compile(main));
    const withTools = toolUse === undefined ? plain : explained(() => compile(toolUse));
    return new ChatTemplate(toolUse ?? main, plain, withTools, specialTokensOf(config), now);
  }

  /**
   * The prompt text for a conversation. The fields of a message are whatever the template reads: `role`, `content`, ...
   * Throws ChatTemplateError when the messages do not have the shape that the template wants, when it rejects them
   * itself (raise_exception), or when it never ends.
   */
  render(messages: readonly object[], options: RenderOptions = {}): string {
    const {
      tools = null,
      addGenerationPrompt = false,
      continueFinalMessage = false,
      templateArgs = {},
    } = options;
    checkMessages(messages);
    if (addGenerationPrompt && continueFinalMessage) {
      throw new ChatTemplateError(
        'addGenerationPrompt and continueFinalMessage were both given, but a prompt ends either with a new message ' +
          'or inside the last one: give one of them.',
      );
    }
    const own = { messages, tools, add_generation_prompt: addGenerationPrompt };
    const clash = Object.keys(own).find((name) => Object.hasOwn(templateArgs, name));
    if (clash) {
      throw new ChatTemplateError(
        `templateArgs has '${clash}', which render() sets itself: use its own argument.`,
      );
    }
    const variables = { documents: null, ...this.specialTokens, ...templateArgs, ...own };
    const text = explained(() => (tools ? this.withTools : this.plain).render(variables, this.now));
    return continueFinalMessage ? cutAfterFinalMessage(text, messages) : text;
  }

  /**
   * What follows a user message when the assistant's answer is asked for, and where that leaves the thinking: `open`
   * for templates that start the think block themselves (Qwen3-Thinking-2507), `closed` after an empty one. Found by
   * rendering a short conversation; the text is empty for a template that rejects it.
   */
  generationPrompt(
    tags: ThinkTags,
    templateArgs: Readonly<Record<string, unknown>> = {},
  ): { text: string; think: ThinkState } {
    const probe = 'probe-5f2c';
    try {
      const rendered = this.render([{ role: 'user', content: probe }], {
        addGenerationPrompt: true,
        templateArgs,
      });
      const text = rendered.slice(rendered.lastIndexOf(probe) + probe.length);
      return { text, think: thinkState(text, tags) };
    } catch (error) {
      if (error instanceof ChatTemplateError) return { text: '', think: 'none' };
      throw error;
    }
  }
}

/** Whether a text ends inside a think block, after one, or has none. */
export function thinkState(text: string, tags: ThinkTags): ThinkState {
  const [open, close] = [text.lastIndexOf(tags.open), text.lastIndexOf(tags.close)];
  if (open < 0 && close < 0) return 'none';
  return open > close ? 'open' : 'closed';
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** `chat_template` as name -> source; a single text is named `default`. */
function namedTemplates(source: unknown): Map<string, string> {
  if (typeof source === 'string') return new Map([['default', source]]);
  const entries: unknown[] = Array.isArray(source) ? source : [];
  return new Map(
    entries.map((entry) => {
      if (isRecord(entry) && typeof entry.name === 'string' && typeof entry.template === 'string') {
        return [entry.name, entry.template];
      }
      throw new ChatTemplateError(
        `tokenizer_config.json: chat_template is a list with ${described(entry)} in it that is not a template; wanted ` +
          '{"name": ..., "template": ...} with two texts.',
      );
    }),
  );
}

/** `bos_token` and similar ones: texts, or AddedToken objects with the text in `content`; null is absent. */
function specialTokensOf(config: Readonly<Record<string, unknown>>): Record<string, string> {
  const tokens: Record<string, string> = {};
  for (const [key, value] of Object.entries(config)) {
    const text = isRecord(value) ? value.content : value;
    if (/^[a-z]+_token$/.test(key) && typeof text === 'string') tokens[key] = text;
  }
  return tokens;
}

function checkMessages(messages: unknown): void {
  const wanted = 'wanted an array of objects such as { role: "user", content: "Hello" }';
  if (!Array.isArray(messages)) throw new ChatTemplateError(`messages is ${described(messages)}; ${wanted}.`);
  for (const [i, message] of messages.entries()) {
    if (!isRecord(message))
      throw new ChatTemplateError(`messages[${i}] is ${described(message)}; ${wanted}.`);
  }
}

function described(value: unknown): string {
  if (value === undefined || value === null) return value === null ? 'null' : 'nothing';
  return Array.isArray(value) ? 'an array' : `${typeof value === 'object' ? 'an' : 'a'} ${typeof value}`;
}

/**
 * Cuts after the last occurrence of the final message's text. Spaces at its end are kept if the template kept
 * them. If the content is a list of parts, its last text counts.
 */
function cutAfterFinalMessage(rendered: string, messages: readonly object[]): string {
  const last = messages.at(-1);
  const content = isRecord(last) ? last.content : undefined;
  const isText = (part: unknown): part is { text: string } => isRecord(part) && typeof part.text === 'string';
  const text = Array.isArray(content) ? content.findLast(isText)?.text : content;
  if (typeof text !== 'string') {
    throw new ChatTemplateError(
      `continueFinalMessage was given, but the content of the last message is ${described(content)}; wanted a text ` +
        'to continue.',
    );
  }
  const stripped = strip(text, null, 'both');
  const start = rendered.lastIndexOf(stripped);
  if (start < 0) {
    throw new ChatTemplateError(
      'continueFinalMessage was given, but the text of the last message is not in the rendered prompt: the template ' +
        'changes or drops it. Render without continueFinalMessage and append the text instead.',
    );
  }
  const withSpaces = strip(text, null, 'left');
  const kept = rendered.startsWith(withSpaces, start) ? withSpaces : stripped;
  return rendered.slice(0, start + kept.length);
}

const ADVICE: Readonly<Record<JinjaErrorKind, string>> = {
  syntax: 'This is not valid in Jinja2 3.1 as transformers sets it up: correct the template.',
  undefined:
    'The template uses a field that a message or tool does not have: add it, or check the roles and their order.',
  type: 'A field of a message or tool has a type that the template cannot use: most want content as a text.',
  value: 'The template cannot work with a value in these messages or arguments: correct the value.',
  security: 'The sandbox forbids this: do not trust the template, or correct it.',
  raised: 'The template itself rejects these messages: change them as it says.',
  limit: 'No chat needs that much: shorten the messages, or do not trust the template.',
};

/** The result of some work of the template engine. Its errors become ones that a user can act on. */
function explained<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof JinjaError)) throw error;
    const place = error.line === undefined ? '' : `, line ${error.line}`;
    throw new ChatTemplateError(`Chat template${place}: ${error.message}. ${ADVICE[error.kind]}`, {
      cause: error,
    });
  }
}
