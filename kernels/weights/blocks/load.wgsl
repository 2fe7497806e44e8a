// Weights of a GGUF file in blocks of 32, as far as all types are alike: numbers of up to 8 bits, and what makes values of them, for
// each half of a block.
// Expects: numbers_of(row, block) -> array<u32, 8>: four numbers to a word, the first in the low byte; scales_of(row, block) ->
// vec4<f32>: (factor, offset) of the first 16 values and of the others; values_of(numbers, scales).
const block_vec4s: u32 = 8u;

fn bytes_of(word: u32) -> vec4<f32> {
  return vec4<f32>((vec4(word) >> vec4(0u, 8u, 16u, 24u)) & vec4(255u));
}

fn load_block(row: u32, block: u32) -> array<vec4<f32>, block_vec4s> {
  let n = numbers_of(row, block);
  let scales = scales_of(row, block);
  return array(
    values_of(n[0], scales.xy),
    values_of(n[1], scales.xy),
    values_of(n[2], scales.xy),
    values_of(n[3], scales.xy),
    values_of(n[4], scales.zw),
    values_of(n[5], scales.zw),
    values_of(n[6], scales.zw),
    values_of(n[7], scales.zw),
  );
}
