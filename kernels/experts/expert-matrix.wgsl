// matrix_of for experts: one matrix for each entry = row * num_slots + slot, that of the expert chosen there. One row of x
// goes through it. An expert that another part holds, or none, is nothing to do.
// Expects: expert_in_part; num_slots, matrix_rows, x_offset, x_stride, x_slot_stride (in vec4s).
fn matrix_of(index: u32) -> Matrix {
  let row = index / num_slots;
  let slot = index % num_slots;
  let expert = expert_in_part(row, slot);
  return Matrix(
    expert * matrix_rows,
    slot * matrix_rows,
    row,
    x_offset + row * x_stride + slot * x_slot_stride,
    row < batch.rows && expert < part_experts,
  );
}
