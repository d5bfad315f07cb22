import CXXHash

/// XXH3 with 64 bits and no seed. It finds what went wrong by chance, some ten times as fast as a digest, and nothing that was made to deceive.
package func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt64 { CXXHash_xxh3(bytes.baseAddress, bytes.count) }
