/**
 * @file What servers of open models answer to a streamed chat request, byte for byte as each of them writes it: thinking, content
 * and a tool call.
 */

interface Dialect {
  /** Of the response. */
  stream: string;
  /** What the server counted. */
  usage: { prompt_tokens: number; completion_tokens: number; cached_tokens?: number };
}

/** Events of `data:` alone. */
function events(chunks: readonly object[], end = '\n\n'): string {
  return [...chunks.map((chunk) => JSON.stringify(chunk)), '[DONE]']
    .map((data) => `data: ${data}${end}`)
    .join('');
}

function chunk(head: object, delta: object, more: object = {}): object {
  return { ...head, choices: [{ index: 0, delta, finish_reason: null, ...more }] };
}

const vllm = {
  id: 'chatcmpl-7f',
  object: 'chat.completion.chunk',
  created: 1760000000,
  model: 'Qwen/Qwen3-8B',
};
const sglang = { ...vllm, id: '5a0c' };
const llamaCpp = { ...vllm, id: 'chatcmpl-Xq', model: 'qwen3.gguf', system_fingerprint: 'b6000-1234abcd' };
const ollama = { ...vllm, id: 'chatcmpl-381', model: 'qwen3:8b', system_fingerprint: 'fp_ollama' };

const open = { id: 'call_1', type: 'function', index: 0 };

/** All of them answer: thinking "Let me see.", content "Looking.", a call of `get_weather` with {"city": "Oslo"}. */
export const dialects: Readonly<Record<string, Dialect>> = {
  'vLLM (reasoning_content)': {
    stream: events([
      chunk(vllm, { role: 'assistant', content: '' }, { logprobs: null }),
      chunk(vllm, { reasoning_content: 'Let me ' }, { logprobs: null }),
      chunk(vllm, { reasoning_content: 'see.' }, { logprobs: null, stop_reason: null }),
      chunk(vllm, { content: 'Looking.' }, { logprobs: null }),
      chunk(vllm, { tool_calls: [{ ...open, function: { name: 'get_weather' } }] }),
      chunk(vllm, { tool_calls: [{ index: 0, function: { arguments: '{"city": ' } }] }),
      chunk(vllm, { tool_calls: [{ index: 0, function: { arguments: '"Oslo"}' } }] }),
      chunk(vllm, { content: '' }, { finish_reason: 'tool_calls', stop_reason: null }),
      {
        ...vllm,
        choices: [],
        usage: { prompt_tokens: 20, total_tokens: 32, completion_tokens: 12, prompt_tokens_details: null },
      },
    ]),
    usage: { prompt_tokens: 20, completion_tokens: 12 },
  },
  'vLLM (reasoning, usage in every chunk)': {
    stream: events([
      {
        ...chunk(vllm, { role: 'assistant', content: '' }),
        usage: { prompt_tokens: 20, completion_tokens: 0 },
      },
      chunk(vllm, { reasoning: 'Let me see.', reasoning_content: 'Let me see.' }),
      chunk(vllm, { content: 'Looking.' }),
      chunk(vllm, {
        tool_calls: [{ ...open, function: { name: 'get_weather', arguments: '{"city": "Oslo"}' } }],
      }),
      chunk(vllm, {}, { finish_reason: 'tool_calls' }),
      {
        ...vllm,
        choices: [],
        usage: {
          prompt_tokens: 20,
          completion_tokens: 12,
          total_tokens: 32,
          prompt_tokens_details: { cached_tokens: 16 },
        },
      },
    ]),
    usage: { prompt_tokens: 20, completion_tokens: 12, cached_tokens: 16 },
  },
  SGLang: {
    stream: events([
      chunk(sglang, { role: 'assistant', content: '', reasoning_content: null, tool_calls: null }),
      chunk(sglang, { role: null, content: null, reasoning_content: 'Let me see.', tool_calls: null }),
      chunk(sglang, { role: null, content: 'Looking.', reasoning_content: null, tool_calls: null }),
      chunk(sglang, {
        content: null,
        tool_calls: [{ ...open, function: { name: 'get_weather', arguments: '' } }],
      }),
      chunk(sglang, {
        content: null,
        tool_calls: [{ index: 0, id: null, function: { name: null, arguments: '{"city": "Oslo"}' } }],
      }),
      chunk(sglang, { content: null }, { finish_reason: 'tool_calls', matched_stop: null }),
      {
        ...sglang,
        choices: [],
        usage: { prompt_tokens: 20, completion_tokens: 12, total_tokens: 32, reasoning_tokens: 4 },
      },
    ]),
    usage: { prompt_tokens: 20, completion_tokens: 12 },
  },
  'llama.cpp': {
    stream: `: keep-alive\n\n${events([
      chunk(llamaCpp, { role: 'assistant', content: null }),
      chunk(llamaCpp, { reasoning_content: 'Let me see.' }),
      chunk(llamaCpp, { content: 'Looking.' }),
      chunk(llamaCpp, { tool_calls: [{ ...open, function: { name: 'get_weather', arguments: '{' } }] }),
      chunk(llamaCpp, { tool_calls: [{ index: 0, function: { arguments: '"city": "Oslo"}' } }] }),
      chunk(llamaCpp, {}, { finish_reason: 'tool_calls' }),
      {
        ...llamaCpp,
        choices: [],
        usage: { completion_tokens: 12, prompt_tokens: 20, total_tokens: 32 },
        timings: { prompt_n: 20, prompt_ms: 10, prompt_per_second: 2000, predicted_per_second: 64.5 },
      },
    ])}`,
    usage: { prompt_tokens: 20, completion_tokens: 12 },
  },
  Ollama: {
    stream: events([
      chunk(ollama, { role: 'assistant', content: '', reasoning: 'Let me see.' }),
      chunk(ollama, { role: 'assistant', content: 'Looking.' }),
      chunk(ollama, {
        role: 'assistant',
        content: '',
        tool_calls: [{ ...open, function: { name: 'get_weather', arguments: '{"city": "Oslo"}' } }],
      }),
      chunk(ollama, { role: 'assistant', content: '' }, { finish_reason: 'tool_calls' }),
      { ...ollama, choices: [], usage: { prompt_tokens: 20, completion_tokens: 12, total_tokens: 32 } },
    ]),
    usage: { prompt_tokens: 20, completion_tokens: 12 },
  },
  'a server with CRLF, no indexes, and the usage beside the end': {
    stream: events(
      [
        chunk(vllm, { role: 'assistant', reasoning_content: 'Let me see.' }),
        chunk(vllm, { content: 'Looking.' }),
        chunk(vllm, {
          tool_calls: [
            {
              id: 'call_1',
              type: 'function',
              function: { name: 'get_weather', arguments: { city: 'Oslo' } },
            },
          ],
        }),
        {
          ...chunk(vllm, {}, { finish_reason: 'tool_calls' }),
          usage: { prompt_tokens: 20, completion_tokens: 12 },
        },
      ],
      '\r\n\r\n',
    ),
    usage: { prompt_tokens: 20, completion_tokens: 12 },
  },
};
