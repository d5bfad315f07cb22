// Memory for a kernel's intermediate numbers.
#pragma once

#include <cstdint>

namespace weir {

// Room for `count` numbers that the calling thread keeps for its next kernel; what it was given before is gone.
float *scratch(int64_t count);

}  // namespace weir
