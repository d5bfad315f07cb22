#include "CSHA256.h"

#include <string.h>

#ifdef __x86_64__

#include <cpuid.h>
#include <immintrin.h>

int CSHA256_is_available(void) {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
  const int has_sse41 = c >> 19 & 1 && c >> 9 & 1;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
  return has_sse41 && b >> 29 & 1;
}

static const uint32_t constants[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

__attribute__((target("sha,sse4.1"))) static void absorb(uint32_t state[8], const uint8_t *bytes, size_t blocks) {
  const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  // The instructions want the words a b e f and c d g h together.
  const __m128i abcd = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xB1);
  const __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1B);
  __m128i abef = _mm_alignr_epi8(abcd, efgh, 8);
  __m128i cdgh = _mm_blend_epi16(efgh, abcd, 0xF0);
  for (; blocks > 0; blocks--, bytes += 64) {
    const __m128i abef_before = abef;
    const __m128i cdgh_before = cdgh;
    __m128i words[4];
#pragma clang loop unroll(full)
    for (int round = 0; round < 16; round++) {
      __m128i *const next = &words[round & 3];
      if (round < 4) {
        *next = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(bytes + 16 * round)), big_endian);
      } else {
        const __m128i last = words[(round + 3) & 3];
        const __m128i sum = _mm_add_epi32(
            _mm_sha256msg1_epu32(*next, words[(round + 1) & 3]), _mm_alignr_epi8(last, words[(round + 2) & 3], 4));
        *next = _mm_sha256msg2_epu32(sum, last);
      }
      const __m128i input = _mm_add_epi32(*next, _mm_load_si128((const __m128i *)(constants + 4 * round)));
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, input);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(input, 0x0E));
    }
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }
  const __m128i feba = _mm_shuffle_epi32(abef, 0x1B);
  const __m128i dchg = _mm_shuffle_epi32(cdgh, 0xB1);
  _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(feba, dchg, 0xF0));
  _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

void CSHA256_digest(const uint8_t *bytes, size_t count, uint8_t *digest) {
  uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  const size_t whole = count / 64;
  if (whole > 0) absorb(state, bytes, whole);
  // The rest, a one bit, zeros, and the length in bits.
  uint8_t last[128] = {0};
  const size_t rest = count % 64;
  if (rest > 0) memcpy(last, bytes + 64 * whole, rest);
  last[rest] = 0x80;
  const size_t blocks = rest < 56 ? 1 : 2;
  const uint64_t bits = __builtin_bswap64((uint64_t)count * 8);
  memcpy(last + 64 * blocks - 8, &bits, 8);
  absorb(state, last, blocks);
  for (int word = 0; word < 8; word++) {
    const uint32_t value = __builtin_bswap32(state[word]);
    memcpy(digest + 4 * word, &value, 4);
  }
}

#else

int CSHA256_is_available(void) { return 0; }

void CSHA256_digest(const uint8_t *bytes, size_t count, uint8_t *digest) { __builtin_trap(); }

#endif
