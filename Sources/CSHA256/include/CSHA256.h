#ifndef C_SHA256_H
#define C_SHA256_H

#include <stddef.h>
#include <stdint.h>

/// Whether this processor has instructions for SHA-256.
int CSHA256_is_available(void);

/// SHA-256 (FIPS 180-4) of `count` bytes into 32 bytes. Only where it is available.
void CSHA256_digest(const uint8_t *bytes, size_t count, uint8_t *digest);

#endif
