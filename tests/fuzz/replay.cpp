// Runs a fuzz target over files and folders of them, where no libFuzzer does: usage NAME PATH ...
#include <algorithm>
#include <vector>

#include "base/files.h"
#include "tests/fuzz/input.h"

int main(int count, char** words) {
  std::vector<std::filesystem::path> files;
  for (int i = 1; i < count; ++i) {
    if (!std::filesystem::is_directory(words[i])) files.emplace_back(words[i]);
    else for (const auto& entry : std::filesystem::directory_iterator(words[i])) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  if (files.empty()) {
    std::fprintf(stderr, "replay: no input\n");
    return 2;
  }
  for (const auto& file : files) {
    std::printf("%s\n", file.c_str());
    std::fflush(stdout);  // names the culprit of a crash
    const std::string content = medfuse::read_file(file);
    // Of its own size, so that the sanitizer sees a step behind its end.
    const std::vector<std::uint8_t> bytes(content.begin(), content.end());
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  }
}
