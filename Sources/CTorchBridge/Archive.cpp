// The zip container of PyTorch's files, read by PyTorch's own reader. What is in it is left to the caller: nothing is unpickled here.
#include "Internal.hpp"

#include <caffe2/serialize/inline_container.h>

#include <cstring>
#include <memory>

struct wt_archive_s {
  std::unique_ptr<caffe2::serialize::PyTorchStreamReader> reader;
};

using namespace weir;

extern "C" {

wt_status wt_archive_open(const char *path, wt_archive *out) {
  return guarded([&] { *out = new wt_archive_s{std::make_unique<caffe2::serialize::PyTorchStreamReader>(std::string(path))}; });
}

void wt_archive_close(wt_archive archive) { delete archive; }

wt_status wt_archive_has(wt_archive archive, const char *record, bool *out) {
  return guarded([&] { *out = archive->reader->hasRecord(record); });
}

wt_status wt_archive_size(wt_archive archive, const char *record, size_t *out) {
  return guarded([&] { *out = archive->reader->getRecordSize(record); });
}

wt_status wt_archive_read(wt_archive archive, const char *record, void *out, size_t bytes) {
  return guarded([&] {
    const auto [data, size] = archive->reader->getRecord(record);
    TORCH_CHECK(size == bytes, "record ", record, " has ", size, " bytes, not ", bytes);
    std::memcpy(out, data.get(), size);
  });
}

}  // extern "C"
