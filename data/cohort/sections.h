// Cuts sections such as "Chief Complaint" out of clinical notes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace medfuse::data {

/// The common name of a section ("hpi" -> "history of present illness"); names that are not known come back in
/// lower case.
std::string canonical_section(std::string_view name);

/// Finds chosen sections by their header lines. A header is "Phrase:" at the beginning of a line, in any case, with
/// text behind it or not. A section ends where the next header line begins, chosen or not; what counts as a header is meant
/// to err on the side of ending a section early, because later sections give the diagnosis away.
class SectionFinder {
 public:
  /// Names as in text.sections; known ones match all of their usual spellings.
  explicit SectionFinder(const std::vector<std::string>& names);

  /// Text of each chosen section, empty if the note lacks it: the first one that is not empty, in one line.
  /// Placeholders of de-identification ("[**...**]") become "___".
  std::vector<std::string> find(std::string_view note) const;

  const std::vector<std::string>& names() const { return names_; }

 private:
  std::vector<std::string> names_;                          // canonical
  std::unordered_map<std::string, std::size_t> by_phrase_;  // normalised header -> section
};

}  // namespace medfuse::data
