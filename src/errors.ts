/**
 * @file The errors a user of the library can act on, one class per kind of failure. Each message says what was
 * found, what was wanted and what to do next. Every room may import this file; it imports nothing.
 * (The tokenizer room stands alone and keeps its own errors in tokenizer/errors.ts.)
 */

/** The base of every error that the library throws on purpose. */
export class ShaderloomError extends Error {
  override name = 'ShaderloomError';
}

/** No WebGPU here, or no adapter. */
export class WebGPUUnavailableError extends ShaderloomError {
  override name = 'WebGPUUnavailableError';
}

/** The adapter's limits or memory are too small for what was asked. */
export class DeviceLimitError extends ShaderloomError {
  override name = 'DeviceLimitError';
}

/** The GPU device was lost (driver reset, memory pressure, tab in the background). The model must be loaded again. */
export class DeviceLostError extends ShaderloomError {
  override name = 'DeviceLostError';
}

/** A WGSL kernel did not compile; the message names the kernel file and line. */
export class ShaderCompileError extends ShaderloomError {
  override name = 'ShaderCompileError';
}

/** Every kernel for an op computes wrong values on this device, or does not compile there: a fault of its driver. */
export class DeviceFaultError extends ShaderloomError {
  override name = 'DeviceFaultError';
}

/** The architecture string of config.json belongs to no family here. */
export class UnknownArchitectureError extends ShaderloomError {
  override name = 'UnknownArchitectureError';
}

/** A config key is missing, malformed, or changes the arithmetic in a way that is not implemented. */
export class UnsupportedConfigError extends ShaderloomError {
  override name = 'UnsupportedConfigError';
}

/** Shapes that do not fit together while a graph is recorded: a mistake in a family file or a config. */
export class ShapeError extends ShaderloomError {
  override name = 'ShapeError';
}

/** The checkpoint lacks a tensor that the family needs. */
export class MissingWeightError extends ShaderloomError {
  override name = 'MissingWeightError';
}

/** A tensor of the checkpoint has a shape or dtype that the config contradicts. */
export class WeightMismatchError extends ShaderloomError {
  override name = 'WeightMismatchError';
}

/** The tensors of a weight are stored in formats that cannot make one matrix. */
export class MixedFormatsError extends WeightMismatchError {
  /** Of each tensor in turn; the same format is the same object. */
  readonly formats: readonly object[];
  constructor(message: string, formats: readonly object[]) {
    super(message);
    this.formats = formats;
  }
}

/** A file of the checkpoint is truncated, or its header or index contradicts itself. */
export class CorruptCheckpointError extends ShaderloomError {
  override name = 'CorruptCheckpointError';
}

/** A file could not be read from its source (network, permissions, not there). */
export class SourceError extends ShaderloomError {
  override name = 'SourceError';
}

/** There is no room for what a store should keep. What it has stays, and a later try goes on from there. */
export class StoreFullError extends ShaderloomError {
  override name = 'StoreFullError';
  /** Bytes that were still to be stored. */
  readonly neededBytes: number;
  /** Bytes that there was room for; undefined where nobody says. */
  readonly availableBytes: number | undefined;
  constructor(message: string, neededBytes: number, availableBytes: number | undefined) {
    super(message);
    this.neededBytes = neededBytes;
    this.availableBytes = availableBytes;
  }
}

/** Something else goes on in the store that must end first. */
export class StoreBusyError extends ShaderloomError {
  override name = 'StoreBusyError';
}

/** This browser, page or folder cannot keep a store. */
export class StoreUnavailableError extends ShaderloomError {
  override name = 'StoreUnavailableError';
}

/** A value given by the caller has the wrong type or range; the message names it. */
export class InvalidInputError extends ShaderloomError {
  override name = 'InvalidInputError';
}

/** The prompt, or prompt plus answer, does not fit the context. */
export class ContextLengthError extends ShaderloomError {
  override name = 'ContextLengthError';
}

/** The model computed NaN or infinity; nothing was sampled from it. */
export class NumericalError extends ShaderloomError {
  override name = 'NumericalError';
}

/** The model was disposed of, or is being used by a generation that has not ended. */
export class ModelStateError extends ShaderloomError {
  override name = 'ModelStateError';
}

/** The model still called functions when `runTools` had asked it as often as allowed. */
export class ToolStepLimitError extends ShaderloomError {
  override name = 'ToolStepLimitError';
}

/** The worker of an engine could not be started, or failed. The engine must be created again. */
export class WorkerError extends ShaderloomError {
  override name = 'WorkerError';
}

/** A server cannot listen where it should. */
export class ListenError extends ShaderloomError {
  override name = 'ListenError';
}

/** A request in the shape of the OpenAI API that was not answered, as that API tells it. */
export class ApiError extends ShaderloomError {
  override name = 'ApiError';
  /** The status of the HTTP response. */
  readonly status: number;
  readonly type: string;
  readonly code: string | null;
  /** The field of the request that is wrong: `messages[0].role`. */
  readonly param: string | null;
  constructor(
    status: number,
    message: string,
    {
      type = status < 500 ? 'invalid_request_error' : 'server_error',
      code = null,
      param = null,
    }: { type?: string; code?: string | null; param?: string | null } = {},
  ) {
    super(message);
    this.status = status;
    this.type = type;
    this.code = code;
    this.param = param;
  }
}
