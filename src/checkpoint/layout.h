// Lays out the HDF5 file of a rank: where each block's bytes go. The bytes themselves are written past the library,
// which would hold its global lock all the while.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "src/checkpoint/box.h"
#include "src/checkpoint/tensor_info.h"

namespace medfuse::checkpoint {

/// One dataset: a block of a tensor.
struct Slot {
  TensorInfo tensor;
  Box box;
  std::string dataset;           ///< out: its name
  std::int64_t byte_offset = 0;  ///< out: where its bytes begin in the file
};

/// Name of a block's dataset: the tensor's, followed by "@" and the offset unless the block is the whole tensor.
std::string dataset_name(const TensorInfo& tensor, const Box& box);

/// Creates an HDF5 file (mode 0600) with one contiguous, allocated dataset for each slot, none of them empty, with
/// attributes "dtype", "shape" (of the whole tensor) and "offset". The content is yet to be written. bfloat16 is a
/// 16-bit float type of that layout, which h5py reads as float32; bool is uint8. Throws Error(data) naming the file.
void lay_out(const std::filesystem::path& path, std::int64_t step, std::vector<Slot>& slots);

}  // namespace medfuse::checkpoint
