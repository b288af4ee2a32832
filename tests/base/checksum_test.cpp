// A sealed file betrays every change to it.
#include "base/checksum.h"

#include <gtest/gtest.h>

#include <string>

namespace medfuse {
namespace {

TEST(Checksum, HexAndBack) {
  EXPECT_EQ(hex(0xabc), "0000000000000abc");
  EXPECT_EQ(from_hex("ffffffffffffffff"), ~std::uint64_t{0});
  EXPECT_EQ(from_hex(hex(0x123456789abcdef0)), 0x123456789abcdef0u);
  for (const char* text : {"", "abc", "0x00000000000abc", " 000000000000abc", "-000000000000abc", "000000000000000g",
                           "0000000000000ABC", "00000000000000abc"}) {
    EXPECT_EQ(from_hex(text), std::nullopt) << text;
  }
}

TEST(Checksum, ASealIsThePublishedChecksumOfTheRest) {
  // XXH64 of no bytes with seed 0, as its specification gives it.
  EXPECT_EQ(seal(""), "{\"xxh64\": \"ef46db3751d8e999\",\n");
  EXPECT_EQ(seal(" \"a\": 1}\n").substr(seal_bytes), " \"a\": 1}\n");
}

TEST(Checksum, EveryChangedBitAndEveryCutBreaksASeal) {
  const std::string good = seal(" \"a\": [1, 2],\n \"b\": \"text\"\n}\n");
  ASSERT_EQ(check_seal(good), Seal::sound);
  for (std::size_t at = 0; at < good.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ (1 << bit));
      const bool digit = at >= 11 && at < 27;
      EXPECT_EQ(check_seal(bad), digit || at >= seal_bytes ? Seal::broken : Seal::missing) << at << ", bit " << bit;
    }
  }
  for (std::size_t size = 0; size < good.size(); ++size) EXPECT_NE(check_seal(good.substr(0, size)), Seal::sound) << size;
  EXPECT_EQ(check_seal(good + "\n"), Seal::broken);
  EXPECT_EQ(check_seal("{\"a\": 1}"), Seal::missing);
}

}  // namespace
}  // namespace medfuse
