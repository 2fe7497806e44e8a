/** @file What the commands share: reading arguments, finding a checkpoint, showing progress. */
import { stat } from 'node:fs/promises';
import { type LoadProgress, ShaderloomError, type Source } from '../index.ts';
import { folder } from '../node.ts';

/** A folder where there is one, else the name or URL. */
export async function sourceOf(from: string): Promise<string | Source> {
  const isThere = await stat(from).then(
    () => true,
    () => false,
  );
  if (isThere) return folder(from);
  if (/^(https?|hf|modelscope):/.test(from) || /^[^./][^/]*\/[^/]+$/.test(from.split('@')[0]!)) return from;
  throw new ShaderloomError(
    `${from} does not exist; give a folder with config.json and safetensors shards, a name like Qwen/Qwen3-0.6B, or a URL`,
  );
}

export function variable(name: string): string | undefined {
  return process.env[name]?.trim() || undefined;
}

export function number(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!Number.isSafeInteger(Number(text))) throw new ShaderloomError(`--${name} ${text}, wanted an integer`);
  return Number(text);
}

export function showProgress({ phase, loadedBytes, totalBytes }: LoadProgress): void {
  if (!process.stderr.isTTY) return;
  const percent = totalBytes > 0 ? ` ${Math.round((100 * loadedBytes) / totalBytes)} %` : '';
  process.stderr.write(phase === 'ready' ? '\r\x1b[K' : `\r\x1b[K${phase}${percent}`);
}
