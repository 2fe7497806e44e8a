/**
 * @file Weights as a graph knows them: the names and shapes that a family asks for, and the format that a resolver says they
 * have. It must not know ops, file formats or the GPU.
 */
import { MixedFormatsError, ShapeError } from '../errors.ts';

/** A WGSL file as text, with its path for error messages. */
export interface WgslFile {
  readonly file: string;
  readonly text: string;
}

/**
 * How a weight's values are packed on the GPU: one row of the table in src/weights/formats.ts.
 *
 * The fragment is WGSL that defines
 *   `const block_vec4s: u32`  (values per block / 4) and
 *   `fn load_block(row: u32, block: u32) -> array<vec4<f32>, block_vec4s>`
 * over the bindings `weight_<section>` and the constant `weight_row_blocks` (blocks per row). Rows are padded with zeros
 * to whole blocks; `row` counts from the first row of the bound part.
 */
export interface WeightFormat {
  readonly name: string;
  /** Values per block along a row. */
  readonly blockSize: number;
  readonly fragment: WgslFile;
  readonly sections: readonly WeightSection[];
  /** True when every value is a float16, so that f16 tiles hold it exactly enough. */
  readonly fitsF16: boolean;
  /** The first `cols` values of a row on the host, from its bytes in every section; of formats that src/weights/decode.ts does not know. */
  decodeRow?(sections: Readonly<Record<string, DataView>>, cols: number): Float64Array;
}

export interface WeightSection {
  /** Bound as `weight_<name>`. */
  readonly name: string;
  /** WGSL element type of the storage array, e.g. `vec4<u32>`. */
  readonly type: string;
  /** Bytes of one row of `cols` values. */
  rowBytes(cols: number): number;
}

/**
 * What a matrix is for, as its family says; how much rounding it bears depends on that (src/weights/resolve.ts).
 *   embedding: rows of it are looked up; it may be the head as well. head: gives the logits of tokens. router: its outputs choose
 *   experts, or how much of one is taken. expert: one of many that a token may take. mtp: joins the two inputs of a draft.
 *   projection: any other.
 */
export type WeightRole = 'embedding' | 'head' | 'router' | 'expert' | 'mtp' | 'projection';

/** How several checkpoint tensors make one matrix: one after another, or row by row in turn (gate 0, up 0, gate 1, ...). */
export type WeightLayout = 'stacked' | 'interleaved';

/** A weight of the checkpoint, by name. A matrix is [rows (outputs), cols (inputs)]; a vector is [1, cols], always f32. */
export interface Weight {
  /** Unique, and the name in labels; the same key in two graphs is the same GPU weight. */
  readonly key: string;
  /** Checkpoint names, each with its own number of rows. */
  readonly names: readonly string[];
  readonly rowsOf: readonly number[];
  /** So many consecutive names give their rows in turn (gate and up: 2); 1: names stand one after another. */
  readonly interleave: number;
  /** Rows that one buffer must hold together: those of an expert or of a head. 1 for a plain matrix. */
  readonly unitRows: number;
  readonly rows: number;
  readonly cols: number;
  readonly isVector: boolean;
  /** Undefined for a vector. */
  readonly role: WeightRole | undefined;
  readonly format: WeightFormat;
}

/** A weight as a family asks for it. */
export type WantedWeight = Omit<Weight, 'format'>;

/** Tells how a weight is stored; throws when the checkpoint lacks one of its tensors or contradicts a shape, or MixedFormatsError. */
export interface WeightResolver {
  (wanted: WantedWeight): WeightFormat;
  /** Whether the checkpoint has a tensor of this name; undefined: there is no checkpoint. */
  has?(name: string): boolean;
}

/** A weight as recorded, or undefined where its tensors' formats cannot make one matrix. */
export function unlessMixed(weight: () => Weight): Weight | undefined {
  try {
    return weight();
  } catch (error) {
    if (error instanceof MixedFormatsError) return undefined;
    throw error;
  }
}

interface MatrixOptions {
  layout?: WeightLayout;
  /** See Weight. */
  unitRows?: number;
  role?: Exclude<WeightRole, 'expert'>;
}

/** What recording a weight needs of a graph. */
export interface WeightGraph {
  /** By key. */
  readonly weights: Map<string, Weight>;
  readonly resolve: WeightResolver;
  /** The module path that ops are recorded under. */
  scope: string;
}

/** The names a family uses for weights, relative to where it stands in the checkpoint. */
export class Weights {
  readonly graph: WeightGraph;
  readonly path: string;
  constructor(graph: WeightGraph, path = '') {
    this.graph = graph;
    this.path = path;
  }

  /** The weights below `name`, e.g. `at('layers', 3)`. Ops recorded by `run` carry this path. */
  at(...names: (string | number)[]): Weights {
    return new Weights(this.graph, [this.path, ...names].filter((s) => s !== '').join('.'));
  }

  /** Runs a piece of a family with this path as the scope of its ops. */
  run<T>(body: (w: Weights) => T): T {
    const outer = this.graph.scope;
    this.graph.scope = this.path;
    try {
      return body(this);
    } finally {
      this.graph.scope = outer;
    }
  }

  /** A matrix [sum(rows), cols] made of `names` (module names, without `.weight`), one row count each. */
  matrix(
    names: readonly string[],
    rowsOf: readonly number[],
    cols: number,
    { layout = 'stacked', unitRows = 1, role = 'projection' }: MatrixOptions = {},
  ): Weight {
    const full = names.map((n) => `${this.#full(n)}.weight`);
    return this.#weight(full.join('+'), full, rowsOf, cols, {
      interleave: layout === 'interleaved' ? names.length : 1,
      unitRows,
      role,
    });
  }

  /** Whether the checkpoint has the matrix of a module below this path by that very name. */
  has(name: string): boolean {
    return this.graph.resolve.has?.(`${this.#full(name)}.weight`) ?? false;
  }

  /** `names` cut where the format changes: each run can be one matrix, though all together may not. */
  alike(
    names: readonly string[],
    rowsOf: readonly number[],
    cols: number,
    options: MatrixOptions = {},
  ): { names: readonly string[]; rowsOf: readonly number[] }[] {
    try {
      this.matrix(names, rowsOf, cols, options);
      return [{ names, rowsOf }];
    } catch (error) {
      if (!(error instanceof MixedFormatsError)) throw error;
      const { formats } = error;
      const begins = [...formats.keys()].filter((i) => formats[i] !== formats[i - 1]);
      return begins.map((begin, i) => ({
        names: names.slice(begin, begins[i + 1]),
        rowsOf: rowsOf.slice(begin, begins[i + 1]),
      }));
    }
  }

  /**
   * The matrices of all experts, `experts.<e>.<name>.weight` below this path: a unit for each expert, made of `names` as
   * `matrix` does. `rowsOf` are the rows of one expert.
   */
  experts(
    numExperts: number,
    names: readonly string[],
    rowsOf: readonly number[],
    cols: number,
    layout: WeightLayout = 'stacked',
  ): Weight {
    const each = Array.from({ length: numExperts }, (_, e) => e);
    return this.#weight(
      `${this.#full(`experts.*.${names.join('+')}`)}`,
      each.flatMap((e) => names.map((n) => `${this.#full(`experts.${e}.${n}`)}.weight`)),
      each.flatMap(() => rowsOf),
      cols,
      {
        interleave: layout === 'interleaved' ? names.length : 1,
        unitRows: rowsOf.reduce((a, b) => a + b, 0),
        role: 'expert',
      },
    );
  }

  /**
   * A vector, f32 on the GPU: `names` are full tensor names below this path, e.g. `q_norm.weight`. Interleaved, their values come in
   * turn, as the rows of a matrix do.
   */
  vector(names: readonly string[], sizes: readonly number[], layout: WeightLayout = 'stacked'): Weight {
    const full = names.map((n) => this.#full(n));
    const cols = sizes.reduce((a, b) => a + b, 0);
    const interleave = layout === 'interleaved' ? names.length : 1;
    return this.#weight(full.join('+'), full, sizes, cols, { interleave, unitRows: 1, role: undefined });
  }

  #full(name: string): string {
    return this.path ? `${this.path}.${name}` : name;
  }

  /** Without a role it is a vector. */
  #weight(
    key: string,
    names: readonly string[],
    rowsOf: readonly number[],
    cols: number,
    how: Pick<Weight, 'interleave' | 'unitRows' | 'role'>,
  ): Weight {
    const known = this.graph.weights.get(key);
    if (known) {
      if (known.role === how.role) return known;
      throw new ShapeError(`${key} is asked for as ${how.role}, and before as ${known.role}`);
    }
    const isVector = how.role === undefined;
    const wanted: WantedWeight = {
      key,
      names,
      rowsOf,
      ...how,
      rows: isVector ? 1 : rowsOf.reduce((a, b) => a + b, 0),
      cols,
      isVector,
    };
    const weight: Weight = { ...wanted, format: this.graph.resolve(wanted) };
    this.graph.weights.set(key, weight);
    return weight;
  }
}
