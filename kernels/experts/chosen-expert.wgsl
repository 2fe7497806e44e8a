// The expert of a slot, counted from the first that the bound part holds: part_experts or more when the part lacks it.
// Expects: experts: array<u32>, experts_offset, experts_stride; first_expert, part_experts.
fn expert_in_part(row: u32, slot: u32) -> u32 {
  return experts[experts_offset + row * experts_stride + slot] - first_expert;
}
