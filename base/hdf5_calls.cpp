#include "base/hdf5_calls.h"

#include "base/error.h"

namespace medfuse::hdf5 {

namespace {

/// Handles close what they own. A file whose last flush failed (a full disk) stays in the library's tables, and its exit
/// handler would crash on it after the error has been reported. Must come before every other call of the library.
[[maybe_unused]] const bool without_exit_handler = H5dont_atexit() >= 0;

}  // namespace

std::string reason() {
  std::string text;
  const auto visit = [](unsigned, const H5E_error2_t* error, void* out) -> herr_t {
    if (error->desc != nullptr) *static_cast<std::string*>(out) = error->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, visit, &text);
  for (char& c : text) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  // Of the library's long lines only what the operating system said is of use.
  const std::string key = "error message = '";
  if (const auto begin = text.find(key); begin != std::string::npos) {
    const auto from = begin + key.size();
    text = text.substr(from, text.find('\'', from) - from);
  }
  return text.empty() ? "no reason given" : text;
}

void silence() {
  thread_local const bool silenced = H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr) >= 0;
  (void)silenced;
}

void fail(const std::filesystem::path& path, const std::string& object, const char* action) {
  data_error("{}: cannot {} '{}' ({}): check the file and the free disk space", path.string(), action, object,
             reason());
}

Handle own(hid_t id, Handle::Close close, const std::filesystem::path& path, const std::string& object,
           const char* action) {
  if (id < 0) fail(path, object, action);
  return Handle(id, close);
}

void check(herr_t status, const std::filesystem::path& path, const std::string& object, const char* action) {
  if (status < 0) fail(path, object, action);
}

}  // namespace medfuse::hdf5
