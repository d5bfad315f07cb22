// What the processor can do that the bridge's kernels ask for. Outside x86-64, nothing.
#pragma once

namespace weir {

// Its registers hold vectors of 16 f32 numbers: AVX-512.
bool holdsWholeVectors();
// It multiplies bf16 and adds in f32: AVX-512 BF16.
bool multipliesBF16();

}  // namespace weir
