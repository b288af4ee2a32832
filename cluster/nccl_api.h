// The NCCL functions in use, as a table: the real ones by default, a mock's where a test proves what happens on errors,
// time-outs and aborts without a GPU.
#pragma once

#include <nccl.h>

#include <string>

namespace medfuse::cluster {

struct NcclApi {
  decltype(&ncclGetVersion) get_version = &ncclGetVersion;
  decltype(&ncclGetErrorString) get_error_string = &ncclGetErrorString;
  decltype(&ncclGetLastError) get_last_error = &ncclGetLastError;
  decltype(&ncclGetUniqueId) get_unique_id = &ncclGetUniqueId;
  decltype(&ncclCommInitRankConfig) init = &ncclCommInitRankConfig;
  decltype(&ncclCommSplit) split = &ncclCommSplit;
  decltype(&ncclCommCount) count = &ncclCommCount;
  decltype(&ncclCommUserRank) user_rank = &ncclCommUserRank;
  decltype(&ncclCommGetAsyncError) get_async_error = &ncclCommGetAsyncError;
  decltype(&ncclCommFinalize) finalize = &ncclCommFinalize;
  decltype(&ncclCommDestroy) destroy = &ncclCommDestroy;
  decltype(&ncclCommAbort) abort = &ncclCommAbort;
  decltype(&ncclAllReduce) all_reduce = &ncclAllReduce;
  decltype(&ncclBroadcast) broadcast = &ncclBroadcast;
  decltype(&ncclAllGather) all_gather = &ncclAllGather;
  decltype(&ncclReduceScatter) reduce_scatter = &ncclReduceScatter;
  decltype(&ncclSend) send = &ncclSend;
  decltype(&ncclRecv) receive = &ncclRecv;
  decltype(&ncclGroupStart) group_start = &ncclGroupStart;
  decltype(&ncclGroupEnd) group_end = &ncclGroupEnd;
};

/// The real functions.
const NcclApi& nccl();

/// NCCL's words for a result that is no success, with the first line of its last warning in this process, if any.
std::string nccl_words(const NcclApi& api, ncclResult_t result);

/// Throws Error(communication) naming the function and NCCL's own words, unless `result` is ncclSuccess.
void check_nccl(const NcclApi& api, ncclResult_t result, const char* function);

/// Throws Error(usage) if the loaded library is older than the headers or of another major version.
void check_nccl_version(const NcclApi& api);

/// Has NCCL begin the operations of several communicators in the order of the calls, unless the environment says
/// otherwise. For a program whose ranks call in one order; before its first communicator.
void launch_in_order();

/// "2.28.9" of an NCCL version code.
std::string nccl_version_text(int code);

}  // namespace medfuse::cluster

/// Calls one function of the table that is done when it returns; a failure becomes Error(communication).
#define MEDFUSE_NCCL(api, function, ...) \
  ::medfuse::cluster::check_nccl((api), (api).function(__VA_ARGS__), "NCCL " #function)
