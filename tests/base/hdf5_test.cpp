#include "base/hdf5.h"

#include <gtest/gtest.h>

#include <fstream>
#include <stdexcept>

#include "base/error.h"
#include "base/files.h"
#include "tests/base/scratch.h"

namespace medfuse {
namespace {

using testing::mode;
using testing::Scratch;

template <class F>
std::string message_of(F f) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::data);
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.what();
  }
  return "";
}

void write_example(const std::filesystem::path& path) {
  hdf5::File file = hdf5::File::create(path);
  file.write<std::int32_t>("tokens/values", {1, -2, 3, 4, 5, 6});
  file.write_matrix<float>("labs", {1.f, 2.f, 3.f, 4.f, 5.f, 6.f}, 2);
  file.write<double>("deep/er/empty", {});
  file.write_matrix<std::uint8_t>("no_rows", {}, 3);
  file.set_attribute("text", std::string("Größe µg"));
  file.set_attribute("number", std::int64_t{-7});
  file.set_attribute("real", 0.1);
  file.set_attribute("names", std::vector<std::string>{"a", "", "ü"});
  file.set_attribute("none", std::vector<std::string>{});
  file.set_attribute("reals", std::vector<double>{1.5, 2.5});
  file.set_attribute("ints", std::vector<std::int64_t>{1, 2, 3});
  file.close();
}

TEST(Hdf5, ReadsBackWhatWasWritten) {
  const Scratch scratch;
  write_example(scratch / "a.h5");
  EXPECT_EQ(mode(scratch / "a.h5"), 0600u);
  const hdf5::File file = hdf5::File::open(scratch / "a.h5");
  EXPECT_EQ(file.read<std::int32_t>("tokens/values"), (std::vector<std::int32_t>{1, -2, 3, 4, 5, 6}));
  EXPECT_EQ(file.shape("labs"), (std::vector<std::size_t>{3, 2}));
  EXPECT_EQ(file.read_rows<float>("labs", 1, 3), (std::vector<float>{3.f, 4.f, 5.f, 6.f}));
  EXPECT_TRUE(file.read_rows<float>("labs", 3, 3).empty());
  EXPECT_TRUE(file.read<double>("deep/er/empty").empty());
  EXPECT_EQ(file.shape("no_rows"), (std::vector<std::size_t>{0, 3}));
  EXPECT_TRUE(file.contains("deep/er"));
  EXPECT_FALSE(file.contains("deep/other/empty"));
  EXPECT_EQ(file.string_attribute("text"), "Größe µg");
  EXPECT_EQ(file.int_attribute("number"), -7);
  EXPECT_EQ(file.doubles_attribute("real"), std::vector<double>{0.1});
  EXPECT_EQ(file.strings_attribute("names"), (std::vector<std::string>{"a", "", "ü"}));
  EXPECT_TRUE(file.strings_attribute("none").empty());
  EXPECT_EQ(file.doubles_attribute("reals"), (std::vector<double>{1.5, 2.5}));
  EXPECT_EQ(file.ints_attribute("ints"), (std::vector<std::int64_t>{1, 2, 3}));
}

TEST(Hdf5, OffsetPointsAtTheElements) {
  const Scratch scratch;
  write_example(scratch / "a.h5");
  const std::uint64_t at = hdf5::File::open(scratch / "a.h5").offset<float>("labs");
  std::ifstream in(scratch / "a.h5", std::ios::binary);
  in.seekg(static_cast<std::streamoff>(at));
  float values[6];
  in.read(reinterpret_cast<char*>(values), sizeof values);
  EXPECT_EQ(values[0], 1.f);
  EXPECT_EQ(values[5], 6.f);
}

TEST(Hdf5, EqualContentGivesEqualBytes) {
  const Scratch scratch;
  write_example(scratch / "a.h5");
  ::usleep(1'100'000);  // time stamps have a resolution of one second
  write_example(scratch / "b.h5");
  EXPECT_EQ(read_file(scratch / "a.h5"), read_file(scratch / "b.h5"));
}

TEST(Hdf5, LargeAttributes) {
  const Scratch scratch;
  const std::vector<double> many(20'000, 2.5);
  hdf5::File file = hdf5::File::create(scratch / "a.h5");
  file.set_attribute("many", many);
  file.close();
  EXPECT_EQ(hdf5::File::open(scratch / "a.h5").doubles_attribute("many"), many);
}

TEST(Hdf5, MistakesAreOneClearError) {
  const Scratch scratch;
  const auto path = scratch / "a.h5";
  write_example(path);
  const hdf5::File file = hdf5::File::open(path);
  const auto names = [&](const std::string& message, const std::string& object) {
    return message.find(path.string()) != std::string::npos && message.find(object) != std::string::npos;
  };
  EXPECT_TRUE(names(message_of([&] { file.read<float>("absent"); }), "absent"));
  EXPECT_TRUE(names(message_of([&] { file.read<std::int32_t>("labs"); }), "labs"));    // float is not int
  EXPECT_TRUE(names(message_of([&] { file.read<double>("labs"); }), "labs"));          // nor double
  EXPECT_TRUE(names(message_of([&] { file.read_rows<float>("labs", 2, 4); }), "labs"));
  EXPECT_TRUE(names(message_of([&] { file.read<float>("deep"); }), "deep"));           // a group
  EXPECT_TRUE(names(message_of([&] { file.string_attribute("absent"); }), "absent"));
  EXPECT_TRUE(names(message_of([&] { file.string_attribute("number"); }), "number"));
  EXPECT_TRUE(names(message_of([&] { file.int_attribute("ints"); }), "ints"));
  write_file_atomically(scratch / "text.h5", "this is no HDF5");
  EXPECT_NE(message_of([&] { hdf5::File::open(scratch / "text.h5"); }).find("text.h5"), std::string::npos);
  EXPECT_NE(message_of([&] { hdf5::File::open(scratch / "absent.h5"); }).find("absent.h5"), std::string::npos);
  EXPECT_NE(message_of([&] { hdf5::File::create(scratch / "no/folder.h5"); }).find("folder.h5"), std::string::npos);
  hdf5::File out = hdf5::File::create(scratch / "b.h5");
  EXPECT_THROW(out.write_matrix<float>("m", {1.f, 2.f, 3.f}, 2), std::logic_error);
}

}  // namespace
}  // namespace medfuse
