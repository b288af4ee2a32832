// Checked calls of the HDF5 library for hdf5*.cpp: a failure is one Error(data) with the library's innermost reason.
#pragma once

#include <hdf5.h>

#include <filesystem>
#include <string>

#include "base/hdf5.h"

namespace medfuse::hdf5 {

/// The library prints its error stack by default, once per thread; our errors are one line.
void silence();

/// Innermost message of the library's error stack, for the end of our line.
std::string reason();

/// Throws Error(data): `action` on `object` in the file `path` failed.
[[noreturn]] void fail(const std::filesystem::path& path, const std::string& object, const char* action);

/// Takes ownership of `id`, or throws as fail() does where it is negative.
Handle own(hid_t id, Handle::Close close, const std::filesystem::path& path, const std::string& object,
           const char* action);

/// Throws as fail() does where `status` is negative.
void check(herr_t status, const std::filesystem::path& path, const std::string& object, const char* action);

}  // namespace medfuse::hdf5
