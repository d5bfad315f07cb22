// Stands in for gloo's header, which LibTorch's wheel leaves out, as far as c10d's ProcessGroupGloo.hpp names what is in it. That class holds
// gloo's objects by shared pointers alone, so none of their layouts matters here, and none of their functions is called.
#pragma once

#include <chrono>

namespace gloo {

class Context {
 public:
  void setTimeout(std::chrono::milliseconds timeout);
};

}  // namespace gloo
