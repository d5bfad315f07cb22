// Processes that train together: c10d's collectives over gloo.
#include "Internal.hpp"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
// LibTorch is built with gloo; its headers declare what it has of it only if told so.
#define USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <memory>

using namespace weir;

struct wt_group_s {
  c10::intrusive_ptr<c10d::TCPStore> store;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> processes;
};

namespace {

// This machine's address as `host` sees it. gloo's own choice, the address of the machine's name, is loopback on many machines.
std::string addressTowards(const char *host, uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo *found = nullptr;
  const int failure = getaddrinfo(host, std::to_string(port).c_str(), &hints, &found);
  TORCH_CHECK(failure == 0, "there is no address for '", host, "': ", gai_strerror(failure));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, freeaddrinfo);
  for (auto *address = addresses.get(); address != nullptr; address = address->ai_next) {
    const int socket = ::socket(address->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket < 0) continue;
    sockaddr_storage own{};
    socklen_t size = sizeof(own);
    // Nothing is sent: connecting a datagram socket only chooses the way.
    const bool known = connect(socket, address->ai_addr, address->ai_addrlen) == 0 &&
        getsockname(socket, reinterpret_cast<sockaddr *>(&own), &size) == 0;
    close(socket);
    char name[NI_MAXHOST];
    if (known && getnameinfo(reinterpret_cast<sockaddr *>(&own), size, name, sizeof(name), nullptr, 0, NI_NUMERICHOST) == 0) return name;
  }
  TORCH_CHECK(false, "'", host, "' cannot be reached from here");
}

void sum(wt_group group, at::Tensor tensor) {
  std::vector<at::Tensor> tensors{std::move(tensor)};
  group->processes->allreduce(tensors)->wait();
}

}  // namespace

wt_status wt_group_join(const char *host, uint16_t port, int32_t rank, int32_t count, int64_t timeoutMilliseconds, wt_group *out) {
  return guarded([&] {
    // gloo and c10d write to connections whose other end may be gone, and count on the error, as Python's processes get it.
    if (std::signal(SIGPIPE, SIG_IGN) == SIG_ERR) TORCH_CHECK(false, "SIGPIPE cannot be ignored");
    const std::chrono::milliseconds timeout(timeoutMilliseconds);
    // First of all: where a name has no address, the store would ask for it until the timeout.
    const std::string address = addressTowards(host, port);
    c10d::TCPStoreOptions meeting;
    meeting.port = port;
    meeting.isServer = rank == 0;
    meeting.numWorkers = count;
    meeting.timeout = timeout;
    auto store = c10::make_intrusive<c10d::TCPStore>(host, meeting);
    auto options = c10d::ProcessGroupGloo::Options::create(timeout);
    options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(address));
    auto processes = c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank, count, options);
    *out = new wt_group_s{std::move(store), std::move(processes)};
    liveHandles.fetch_add(1, std::memory_order_relaxed);
  });
}

wt_status wt_group_average_gradients(wt_group group, const wt_tensor *parameters, size_t count, double *value) {
  return guarded([&] {
    const at::NoGradGuard noGradients;
    std::vector<at::Tensor> gradients, parts;
    for (size_t i = 0; i < count; i++) {
      const auto &gradient = weir::value(parameters[i]).grad();
      if (!gradient.defined()) continue;
      gradients.push_back(gradient);
      parts.push_back(gradient.reshape({-1}).to(at::kCPU));
    }
    parts.push_back(at::full({1}, *value, at::kFloat));
    const auto all = at::cat(parts);
    sum(group, all);
    all.div_(group->processes->getSize());
    int64_t start = 0;
    for (auto &gradient : gradients) {
      gradient.copy_(all.narrow(0, start, gradient.numel()).view(gradient.sizes()));
      start += gradient.numel();
    }
    *value = all[start].item().toDouble();
  });
}

wt_status wt_group_gather(wt_group group, double own, double *values, size_t count) {
  return guarded([&] {
    TORCH_CHECK(count == static_cast<size_t>(group->processes->getSize()), "there are ", group->processes->getSize(), " processes");
    // All but its own place are zero, so that the sum is exact.
    const auto all = at::zeros({static_cast<int64_t>(count)}, at::kDouble);
    all[group->processes->getRank()] = own;
    sum(group, all);
    std::copy_n(all.const_data_ptr<double>(), count, values);
  });
}

wt_status wt_group_leave(wt_group group) {
  if (group == nullptr) return WT_OK;
  return guarded([&] {
    liveHandles.fetch_sub(1, std::memory_order_relaxed);
    delete group;
  });
}
