#include "cluster/nccl_api.h"

#include <cstdlib>

#include "base/error.h"

namespace medfuse::cluster {

const NcclApi& nccl() {
  static const NcclApi api;
  return api;
}

std::string nccl_words(const NcclApi& api, ncclResult_t result) {
  // One text for the whole process: no communicator need be given, which another thread may be aborting.
  const std::string warning = api.get_last_error(nullptr);
  const std::string words = api.get_error_string(result);
  if (warning.empty()) return words;
  return fmt::format("{} (its last warning: {})", words, warning.substr(0, warning.find('\n')));
}

void check_nccl(const NcclApi& api, ncclResult_t result, const char* function) {
  if (result == ncclSuccess) return;
  communication_error("{} failed: {}; NCCL_DEBUG=WARN tells more", function, nccl_words(api, result));
}

std::string nccl_version_text(int code) {
  // Up to 2.8 the code was major * 1000 + minor * 100 + patch.
  const int base = code < 10000 ? 1000 : 10000;
  return fmt::format("{}.{}.{}", code / base, code % base / 100, code % 100);
}

void launch_in_order() {
  // A kernel of NCCL keeps its part of the GPU until its peers have come. If two GPUs began those of two communicators
  // in opposite orders and had no room for both, each would wait for the other for ever. Against that NCCL has this since
  // 2.26 (its user guide, "Using multiple NCCL communicators concurrently"). Under CUDA 12.3 and later they still run
  // side by side: one waits for the other's begin, not for its end.
  setenv("NCCL_LAUNCH_ORDER_IMPLICIT", "1", 0);
}

void check_nccl_version(const NcclApi& api) {
  int loaded = 0;
  MEDFUSE_NCCL(api, get_version, &loaded);
  if (loaded / 10000 == NCCL_MAJOR && loaded >= NCCL_VERSION_CODE) return;
  usage_error("NCCL {} is loaded but medfuse was built for {}: remove the other libnccl.so.2 from LD_LIBRARY_PATH and "
              "LD_PRELOAD, or build against its headers",
              nccl_version_text(loaded), nccl_version_text(NCCL_VERSION_CODE));
}

}  // namespace medfuse::cluster
