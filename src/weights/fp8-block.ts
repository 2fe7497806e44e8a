/** @file The size of a block of float8 weights, which the format, its packing and config.json speak of. */

/** Rows and columns of weights that share a scale. */
export const FP8_BLOCK = 128;
