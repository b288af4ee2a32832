#include "base/files.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "base/random.h"
#include "tests/base/scratch.h"

namespace medfuse {
namespace {

using testing::mode;
using testing::Scratch;

TEST(Files, WriteReplacesAndIsPrivate) {
  const Scratch scratch;
  const auto path = scratch / "a.txt";
  write_file_atomically(path, "first");
  write_file_atomically(path, std::string_view("se\0cond", 7));
  EXPECT_EQ(read_file(path), std::string("se\0cond", 7));
  EXPECT_EQ(mode(path), 0600u);
  std::size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(scratch.path())) ++files;
  EXPECT_EQ(files, 1u);
}

TEST(Files, PrivateFolder) {
  const Scratch scratch;
  make_private_folder(scratch / "x/y");
  EXPECT_EQ(mode(scratch / "x/y"), 0700u);
}

TEST(Files, ChecksumIsThatOfTheBytes) {
  const Scratch scratch;
  const std::string content(3'000'000, 'm');
  write_file_atomically(scratch / "a", content);
  EXPECT_EQ(file_checksum(scratch / "a"), name_counter(content));
}

TEST(Files, ErrorsNameThePath) {
  const Scratch scratch;
  // The last one opens, and its first byte cannot be read.
  for (const auto& path : {scratch / "absent", scratch.path(), std::filesystem::path("/proc/self/mem")}) {
    try {
      read_file(path);
      FAIL() << path;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::data);
      EXPECT_NE(std::string(error.what()).find(path.string()), std::string::npos);
    }
  }
  EXPECT_THROW(write_file_atomically(scratch / "no/such/folder/f", "x"), Error);
  EXPECT_THROW(file_checksum(scratch / "absent"), Error);
}

}  // namespace
}  // namespace medfuse
