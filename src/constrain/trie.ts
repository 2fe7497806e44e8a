/** @file The vocabulary as a trie over bytes, flat and in reading order. Knows nothing of grammars. */

export interface Vocabulary {
  /** One more than the highest id: bits in a mask. */
  readonly size: number;
  /** The bytes that a token stands for; undefined for ids without a token, and for added tokens, which are never text. */
  bytesOf(id: number): Uint8Array | undefined;
  /** Tokens that end the text. */
  readonly stopTokens: readonly number[];
}

/** Node 0 is the root; a node's subtree is the nodes from it to `ends[node]`, itself included. */
export interface Trie {
  readonly bytes: Uint8Array;
  readonly depths: Uint16Array;
  readonly ends: Int32Array;
  /** The depth of the deepest node of the subtree. */
  readonly deepest: Uint16Array;
  /** The token that ends at the node, or -1. */
  readonly tokens: Int32Array;
  /** Further tokens with the same bytes as one in `tokens`. */
  readonly twins: ReadonlyMap<number, readonly number[]>;
  /** All tokens that have bytes, the longest first; and for each length, where the tokens of at most that length begin. */
  readonly byLength: Int32Array;
  readonly startOfLength: Int32Array;
}

export function buildTrie(vocabulary: Vocabulary): Trie {
  const entries: { text: string; token: number }[] = [];
  for (let token = 0; token < vocabulary.size; token++) {
    const bytes = vocabulary.bytesOf(token);
    // Only hostile files have tokens longer than a depth can hold; without them every text is still possible.
    if (bytes === undefined || bytes.length === 0 || bytes.length > 0xfffe) continue;
    let text = '';
    for (const byte of bytes) text += String.fromCharCode(byte);
    entries.push({ text, token });
  }
  entries.sort((a, b) => (a.text < b.text ? -1 : a.text > b.text ? 1 : a.token - b.token));

  const maxNodes = entries.reduce((sum, { text }) => sum + text.length, 1);
  const bytes = new Uint8Array(maxNodes);
  const depths = new Uint16Array(maxNodes);
  const ends = new Int32Array(maxNodes);
  const deepest = new Uint16Array(maxNodes);
  const tokens = new Int32Array(maxNodes).fill(-1);
  const twins = new Map<number, number[]>();
  const path = [0];
  let numNodes = 1;
  const closeTo = (depth: number) => {
    while (path.length - 1 > depth) {
      const node = path.pop()!;
      ends[node] = numNodes;
      deepest[node] = Math.max(deepest[node]!, depths[node]!);
      const parent = path.at(-1)!;
      deepest[parent] = Math.max(deepest[parent]!, deepest[node]!);
    }
  };
  let last = '';
  for (const { text, token } of entries) {
    let shared = 0;
    while (shared < last.length && last.charCodeAt(shared) === text.charCodeAt(shared)) shared++;
    closeTo(shared);
    for (let i = shared; i < text.length; i++) {
      bytes[numNodes] = text.charCodeAt(i);
      depths[numNodes] = i + 1;
      path.push(numNodes++);
    }
    const node = path.at(-1)!;
    const first = tokens[node]!;
    if (first < 0) tokens[node] = token;
    else twins.set(first, [...(twins.get(first) ?? []), token]);
    last = text;
  }
  closeTo(0);
  ends[0] = numNodes;

  const maxLength = deepest[0]!;
  // A token of n bytes is longer than n - 1, and than anything smaller.
  const startOfLength = new Int32Array(maxLength + 1);
  for (const { text } of entries) startOfLength[text.length - 1]!++;
  for (let length = maxLength - 1; length >= 0; length--)
    startOfLength[length]! += startOfLength[length + 1]!;
  const byLength = new Int32Array(entries.length);
  const next = startOfLength.slice();
  for (const { text, token } of entries) byLength[next[text.length]!++] = token;
  return {
    bytes: bytes.slice(0, numNodes),
    depths: depths.slice(0, numNodes),
    ends: ends.slice(0, numNodes),
    deepest: deepest.slice(0, numNodes),
    tokens: tokens.slice(0, numNodes),
    twins,
    byLength,
    startOfLength,
  };
}
