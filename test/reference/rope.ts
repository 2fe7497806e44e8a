/** @file The plain definition of rotary embeddings in f64: the angle of one pair, and the rotation of one head. */

/** The numbers of a config, as modeling_rope_utils.py names them. */
export interface RopeNumbers {
  type: 'default' | 'linear' | 'dynamic' | 'llama3' | 'yarn' | 'longrope' | 'factors';
  theta: number;
  dim: number;
  factor?: number;
  maxPositionEmbeddings?: number;
  originalMaxPositionEmbeddings?: number;
  attentionFactor?: number;
  betaFast?: number;
  betaSlow?: number;
  mscale?: number;
  mscaleAllDim?: number;
  truncate?: boolean;
  lowFreqFactor?: number;
  highFreqFactor?: number;
  shortFactor?: readonly number[];
  longFactor?: readonly number[];
}

/** Cosine and sine for pair `i` of a token at `position` in a context of `sequenceLength` tokens. */
export function ropeAngle(
  r: RopeNumbers,
  position: number,
  i: number,
  sequenceLength: number,
): { cos: number; sin: number } {
  const angle = position * inverseFrequency(r, i, sequenceLength);
  const scale = r.attentionFactor ?? attentionFactor(r);
  return { cos: scale * Math.cos(angle), sin: scale * Math.sin(angle) };
}

function attentionFactor(r: RopeNumbers): number {
  if (r.type === 'longrope') {
    return Math.sqrt(1 + Math.log(r.factor!) / Math.log(r.originalMaxPositionEmbeddings!));
  }
  return r.type === 'yarn' ? yarnAttentionFactor(r) : 1;
}

function inverseFrequency(r: RopeNumbers, i: number, sequenceLength: number): number {
  const plain = 1 / r.theta ** ((2 * i) / r.dim);
  if (r.type === 'default') return plain;
  if (r.type === 'factors') return plain / r.shortFactor![i]!;
  if (r.type === 'longrope') {
    const isLong = sequenceLength > r.originalMaxPositionEmbeddings!;
    return plain / (isLong ? r.longFactor! : r.shortFactor!)[i]!;
  }
  if (r.type === 'linear') return plain / r.factor!;
  if (r.type === 'dynamic') {
    if (sequenceLength <= r.maxPositionEmbeddings!) return plain;
    const grown = (r.factor! * sequenceLength) / r.maxPositionEmbeddings! - r.factor! + 1;
    const theta = r.theta * grown ** (r.dim / (r.dim - 2));
    return 1 / theta ** ((2 * i) / r.dim);
  }
  if (r.type === 'llama3') {
    const wavelength = (2 * Math.PI) / plain;
    const original = r.originalMaxPositionEmbeddings!;
    if (wavelength < original / r.highFreqFactor!) return plain;
    if (wavelength > original / r.lowFreqFactor!) return plain / r.factor!;
    const smooth = (original / wavelength - r.lowFreqFactor!) / (r.highFreqFactor! - r.lowFreqFactor!);
    return plain * ((1 - smooth) / r.factor! + smooth);
  }
  const ramp = yarnRamp(r, i);
  return (1 - ramp) * plain + ramp * (plain / r.factor!);
}

/** 0: keeps its speed; 1: slowed down by the factor. */
function yarnRamp(r: RopeNumbers, i: number): number {
  let low = yarnDim(r, r.betaFast ?? 32);
  let high = yarnDim(r, r.betaSlow ?? 1);
  if (r.truncate !== false) {
    low = Math.floor(low);
    high = Math.ceil(high);
  }
  if (low < 0) low = 0;
  if (high > r.dim - 1) high = r.dim - 1;
  if (low === high) high += 0.001;
  const ramp = (i - low) / (high - low);
  if (ramp < 0) return 0;
  if (ramp > 1) return 1;
  return ramp;
}

/** The (fractional) pair that turns `rotations` times within the original context. */
function yarnDim(r: RopeNumbers, rotations: number): number {
  const wavelength = r.originalMaxPositionEmbeddings! / rotations;
  return (r.dim * Math.log(wavelength / (2 * Math.PI))) / (2 * Math.log(r.theta));
}

function yarnAttentionFactor(r: RopeNumbers): number {
  const mscale = (m: number): number => (r.factor! > 1 ? 1 + 0.1 * m * Math.log(r.factor!) : 1);
  return r.mscale && r.mscaleAllDim ? mscale(r.mscale) / mscale(r.mscaleAllDim) : mscale(1);
}

/** Rotates the first `angles.length` values of one head; `angles` has cosines, then sines. */
export function rotateHead(
  head: ArrayLike<number>,
  angles: ArrayLike<number>,
  pairing: 'half' | 'interleaved',
): number[] {
  const out = Array.from(head);
  const half = angles.length / 2;
  for (let i = 0; i < half; i++) {
    const [a, b] = pairing === 'half' ? [i, i + half] : [2 * i, 2 * i + 1];
    const [cos, sin] = [angles[i]!, angles[half + i]!];
    out[a] = head[a]! * cos - head[b]! * sin;
    out[b] = head[b]! * cos + head[a]! * sin;
  }
  return out;
}

/** x [rows, heads, headDim], angles [rows, 2 * half] -> the rotated x. */
export function rope(
  x: ArrayLike<number>,
  angles: ArrayLike<number>,
  shape: { rows: number; heads: number; headDim: number; half: number },
  pairing: 'half' | 'interleaved',
): number[] {
  const { rows, heads, headDim, half } = shape;
  const [values, table] = [Array.from(x), Array.from(angles)];
  const out: number[] = [];
  for (let r = 0; r < rows; r++) {
    const row = table.slice(r * 2 * half, (r + 1) * 2 * half);
    for (let h = 0; h < heads; h++) {
      const begin = (r * heads + h) * headDim;
      out.push(...rotateHead(values.slice(begin, begin + headDim), row, pairing));
    }
  }
  return out;
}
