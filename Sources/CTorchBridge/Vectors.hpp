// Vectors of 16 numbers, for the bridge's own kernels: each instruction set does with them what it can, lane by lane, in the same order.
#pragma once

#include <cstdint>
#include <cstring>

// One set of machine code per instruction set, chosen when the program is loaded.
#if defined(__x86_64__)
#define WEIR_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define WEIR_CLONES
#endif
#define WEIR_INLINE static inline __attribute__((always_inline))

namespace weir {

constexpr int lanes = 16;
typedef float Floats __attribute__((vector_size(lanes * 4), aligned(4)));
typedef uint32_t Words __attribute__((vector_size(lanes * 4), aligned(4)));
typedef uint16_t Halves __attribute__((vector_size(lanes * 2), aligned(2)));

struct BFloat16 {
  uint16_t bits;
};

WEIR_INLINE void load(const float *from, Floats &to) { std::memcpy(&to, from, sizeof to); }

WEIR_INLINE void load(const BFloat16 *from, Floats &to) {
  Halves halves;
  std::memcpy(&halves, from, sizeof halves);
  const Words words = __builtin_convertvector(halves, Words) << 16;
  std::memcpy(&to, &words, sizeof to);
}

WEIR_INLINE void store(const Floats &from, float *to) { std::memcpy(to, &from, sizeof from); }

// Rounds to nearest, ties to even; a NaN stays a NaN.
WEIR_INLINE void store(const Floats &from, BFloat16 *to) {
  Words words;
  std::memcpy(&words, &from, sizeof words);
  const Words rounded = (words + 0x7fff + ((words >> 16) & 1)) >> 16;
  const Words isNaN = (Words)(from != from);
  const Halves halves = __builtin_convertvector((isNaN & 0x7fc0) | (~isNaN & rounded), Halves);
  std::memcpy(to, &halves, sizeof halves);
}

WEIR_INLINE float one(const float *from) { return *from; }

WEIR_INLINE float one(const BFloat16 *from) {
  const uint32_t word = uint32_t{from->bits} << 16;
  float number;
  std::memcpy(&number, &word, sizeof number);
  return number;
}

}  // namespace weir
