#include <stddef.h>
#include <stdint.h>
#include <xxhash.h>
#ifdef __x86_64__
// Renames the functions to ones that go by the processor: with AVX2 and AVX-512 they are faster than what every x86-64 can do.
#include <xxh_x86dispatch.h>
#endif

// A function, for Swift does not see names that macros give.
static inline uint64_t CXXHash_xxh3(const void *bytes, size_t count) { return XXH3_64bits(bytes, count); }
