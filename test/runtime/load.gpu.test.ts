/** Loading real folders and breaking them: what a user sees, and that nothing stays allocated. */
import { describe, expect, it } from 'vitest';
import {
  ContextLengthError,
  CorruptCheckpointError,
  DeviceLimitError,
  InvalidInputError,
  MissingWeightError,
  NumericalError,
  UnknownArchitectureError,
  WeightMismatchError,
} from '../../src/errors.ts';
import { type LoadOptions, loadModel, type Model } from '../../src/index.ts';
import type { Source } from '../../src/sources/source.ts';
import { fixtureFolders } from '../fixture-folders.ts';

const tiny = fixtureFolders('tinyModels').find((f) => f.name === 'tiny-qwen3')!.source;
const small = { contextLength: 128 } satisfies LoadOptions;

/** The tiny checkpoint with some files replaced; `undefined` takes a file away. */
function withFiles(files: Record<string, ((bytes: Uint8Array) => Uint8Array) | undefined>): Source {
  const change = async (name: string): Promise<Uint8Array | undefined> => {
    const bytes = await tiny.readFile(name);
    return bytes && files[name]?.(bytes);
  };
  return {
    ...tiny,
    label: 'broken copy',
    readFile: (name, options) => (name in files ? change(name) : tiny.readFile(name, options)),
    async readStart(name, maxBytes, options) {
      if (!(name in files)) return tiny.readStart(name, maxBytes, options);
      const bytes = await change(name);
      return bytes && { bytes: bytes.slice(0, maxBytes), size: bytes.length };
    },
    async *stream(name, ranges, options) {
      if (!(name in files)) return yield* tiny.stream(name, ranges, options);
      const bytes = await change(name);
      for (const { begin, end } of ranges) {
        if (!bytes || end > bytes.length) throw new CorruptCheckpointError(`${name} ends early`);
        yield bytes.slice(begin, end);
      }
    },
  };
}

const editJson =
  (edit: (json: Record<string, unknown>) => void) =>
  (bytes: Uint8Array): Uint8Array => {
    const json = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
    edit(json);
    return new TextEncoder().encode(JSON.stringify(json));
  };

/** Buffers made and destroyed by WebGPU itself while `run` runs. */
async function leakedBuffers(run: () => Promise<unknown>): Promise<number> {
  const live = new Set<GPUBuffer>();
  const { createBuffer } = GPUDevice.prototype;
  const { destroy } = GPUBuffer.prototype;
  GPUDevice.prototype.createBuffer = function (this: GPUDevice, descriptor) {
    const buffer = createBuffer.call(this, descriptor);
    live.add(buffer);
    return buffer;
  };
  GPUBuffer.prototype.destroy = function (this: GPUBuffer) {
    live.delete(this);
    return destroy.call(this);
  };
  try {
    await run();
  } finally {
    GPUDevice.prototype.createBuffer = createBuffer;
    GPUBuffer.prototype.destroy = destroy;
  }
  return live.size;
}

async function collect(model: Model, ids: readonly number[], options = {}): Promise<number[]> {
  const out: number[] = [];
  for await (const { id } of model.generate(ids, options)) out.push(id);
  return out;
}

describe('a broken checkpoint', () => {
  const shard = 'model-00002-of-00003.safetensors';
  it.each([
    [
      'of an unknown architecture',
      {
        'config.json': editJson((c) => {
          c.architectures = ['GPT5ForCausalLM'];
        }),
      },
      UnknownArchitectureError,
      /GPT5ForCausalLM/,
    ],
    [
      'whose config wants other shapes',
      {
        'config.json': editJson((c) => {
          c.intermediate_size = 400;
        }),
      },
      WeightMismatchError,
      /gate_proj.*\[384,128\].*\[400,128\]/,
    ],
    [
      'whose config wants more layers',
      {
        'config.json': editJson((c) => {
          c.num_hidden_layers = 7;
        }),
      },
      MissingWeightError,
      /model\.layers\.6/,
    ],
    ['with a shard missing', { [shard]: undefined }, CorruptCheckpointError, /00002-of-00003/],
    [
      'with a truncated shard',
      { [shard]: (b: Uint8Array) => b.slice(0, b.length - 1000) },
      CorruptCheckpointError,
      /00002-of-00003/,
    ],
    [
      'with a tokenizer of another kind',
      {
        'tokenizer.json': editJson((t) => {
          (t.model as { type: string }).type = 'Unigram';
        }),
      },
      Error,
      /Unigram/,
    ],
    ['without a tokenizer', { 'tokenizer.json': undefined }, Error, /tokenizer\.json/],
  ])('%s is refused by name, and nothing stays allocated', async (_, files, errorClass, message) => {
    let error: unknown;
    const leaked = await leakedBuffers(async () => {
      error = await loadModel(withFiles(files), small).then(
        (m) => m.dispose(),
        (e: unknown) => e,
      );
    });
    expect(error).toBeInstanceOf(errorClass);
    expect(String(error)).toMatch(message);
    expect(leaked).toBe(0);
  });

  it('that computes NaN gives an error instead of text, and the model goes on', async () => {
    const nan = (bytes: Uint8Array): Uint8Array => {
      const copy = bytes.slice();
      // The last bytes of the data are weights: a bfloat16 NaN.
      copy.set([0xc0, 0x7f], copy.length - 2);
      return copy;
    };
    const model = await loadModel(withFiles({ 'model-00003-of-00003.safetensors': nan }), small);
    try {
      await expect(collect(model, [1, 2, 3], { maxTokens: 4 })).rejects.toThrow(NumericalError);
      await expect(collect(model, [1, 2, 3], { maxTokens: 4 })).rejects.toThrow(NumericalError);
      await expect(model.score([1, 2, 3])).rejects.toThrow(NumericalError);
    } finally {
      model.dispose();
    }
  });
});

describe('loading', () => {
  it('reports its progress to the last byte, and can be aborted half-way without leaving anything', async () => {
    const seen: string[] = [];
    const model = await loadModel(tiny, {
      ...small,
      onProgress: (p) => seen.push(`${p.phase} ${p.loadedBytes}/${p.totalBytes}`),
    });
    model.dispose();
    expect(seen[0]).toMatch(/^config/);
    expect(seen.at(-1)).toMatch(/^ready (\d+)\/\1$/);
    const stopper = new AbortController();
    const leaked = await leakedBuffers(async () => {
      const loading = loadModel(tiny, {
        ...small,
        signal: stopper.signal,
        onProgress: (p) => {
          if (p.phase === 'weights') stopper.abort();
        },
      });
      await expect(loading).rejects.toThrow(/abort/i);
    });
    expect(leaked).toBe(0);
  });

  it('releases every buffer when the model is disposed of', async () => {
    const leaked = await leakedBuffers(async () => {
      const model = await loadModel(tiny, small);
      await collect(model, [1, 2, 3], { maxTokens: 3 });
      model.dispose();
    });
    expect(leaked).toBe(0);
  });

  it('refuses a context that the model or the device cannot hold', async () => {
    await expect(loadModel(tiny, { contextLength: 5000 })).rejects.toThrow(InvalidInputError);
    await expect(loadModel(tiny, { contextLength: 0 })).rejects.toThrow(/contextLength is 0/);
    const huge = withFiles({
      'config.json': editJson((c) => {
        c.max_position_embeddings = 2 ** 26;
      }),
    });
    await expect(loadModel(huge, { contextLength: 2 ** 26 })).rejects.toThrow(DeviceLimitError);
  });
});

describe('a loaded model', () => {
  it('refuses prompts that are empty, out of the vocabulary or longer than the context, and goes on', async () => {
    const model = await loadModel(tiny, small);
    try {
      await expect(collect(model, [])).rejects.toThrow(InvalidInputError);
      await expect(collect(model, [1, 1024])).rejects.toThrow(/1024/);
      await expect(
        collect(
          model,
          Array.from({ length: 129 }, () => 5),
        ),
      ).rejects.toThrow(ContextLengthError);
      await expect(collect(model, [1], { temperature: -1 })).rejects.toThrow(/temperature/);
      await expect(collect(model, [1], { maxTokens: 0 })).rejects.toThrow(/maxTokens/);
      await expect(model.chat([]).result).rejects.toThrow(InvalidInputError);
      await expect(model.chat([{ content: 'x' } as never]).result).rejects.toThrow(/messages\[0\]/);
      expect(await collect(model, [1016, 267, 198], { temperature: 0, maxTokens: 3 })).toHaveLength(3);
    } finally {
      model.dispose();
    }
  });

  it('ends at the full context with the reason length', async () => {
    const model = await loadModel(tiny, { contextLength: 20 });
    try {
      const generation = model.generate([5, 6, 7], { temperature: 1, seed: 1, stopTokens: [] });
      let next = await generation.next();
      let count = 0;
      for (; !next.done; next = await generation.next()) count++;
      expect(count).toBe(20 - 3 + 1);
      expect(next.value.finishReason).toBe('length');
    } finally {
      model.dispose();
    }
  });

  it('gives the same text for the same seed, and reuses what is cached', async () => {
    const model = await loadModel(tiny, small);
    try {
      const options = { temperature: 1.2, topK: 40, seed: 7, maxTokens: 12, stopTokens: [] };
      const prompt = [1016, 267, 198, 20, 20, 326, 220, 21, 300, 589, 1017, 198, 1016, 273, 198];
      const first = await collect(model, prompt, options);
      expect(await collect(model, prompt, options)).toEqual(first);
      const longer = [...prompt, ...first.slice(0, 6), 20];
      const generation = model.generate(longer, { ...options, maxTokens: 2 });
      let next = await generation.next();
      while (!next.done) next = await generation.next();
      expect(next.value.usage.cachedTokens).toBe(prompt.length + 6);
    } finally {
      model.dispose();
    }
  });

  it('stops at once when aborted, and answers correctly at once after', async () => {
    const model = await loadModel(tiny, { contextLength: 512 });
    try {
      const ask = [{ role: 'user', content: 'What is 27 + 58?' }];
      const whole = (await model.chat(ask, { temperature: 0 }).result).message;
      expect(whole.content).toContain('85');
      const stopper = new AbortController();
      const stream = model.chat(ask, { temperature: 0, signal: stopper.signal });
      for await (const _ of stream) stopper.abort();
      const stopped = await stream.result;
      expect(stopped.finishReason).toBe('abort');
      expect(stopped.usage.completionTokens).toBeLessThan(8);
      expect((await model.chat(ask, { temperature: 0 }).result).message).toEqual(whole);
    } finally {
      model.dispose();
    }
  });

  it('answers several that are asked for at once as one after another', async () => {
    const model = await loadModel(tiny, { contextLength: 512 });
    try {
      const questions = ['What is 27 + 58?', 'What is 12 + 30?', 'What is the capital of France?'];
      const alone: string[] = [];
      for (const content of questions)
        alone.push(
          (await model.chat([{ role: 'user', content }], { temperature: 0 }).result).message.content,
        );
      const together = await Promise.all(
        questions.map((content) => model.chat([{ role: 'user', content }], { temperature: 0 }).result),
      );
      expect(together.map((r) => r.message.content)).toEqual(alone);
    } finally {
      model.dispose();
    }
  });
});
