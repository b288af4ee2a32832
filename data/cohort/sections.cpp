#include "data/cohort/sections.h"

#include <algorithm>
#include <optional>
#include <unordered_set>

#include "data/tables/fields.h"

namespace medfuse::data {
namespace {

constexpr std::size_t longest_header = 60;
constexpr int most_words = 6;

/// Spellings of the sections written on admission; the first is the common name.
const std::vector<std::vector<std::string>>& spellings() {
  static const std::vector<std::vector<std::string>> all = {
      {"chief complaint", "chief complaints", "chief compliant", "cc", "c.c.", "presenting complaint",
       "reason for admission"},
      {"history of present illness", "history of the present illness", "history of presenting illness",
       "history present illness", "present illness", "hpi"},
      {"past medical history", "medical history", "past medical hx", "past medical and surgical history",
       "past medical/surgical history", "past medical history/past surgical history", "pmh", "pmhx", "pmh/psh"},
      {"medications on admission", "medication on admission", "medications at admission", "admission medications",
       "admission meds", "meds on admission", "medications prior to admission", "medications on arrival",
       "preadmission medications", "home medications", "home meds", "medications at home", "outpatient medications",
       "medications at the time of admission", "current medications"},
  };
  return all;
}

/// Headers that end a section wherever they begin a line, whatever follows them.
const std::unordered_set<std::string>& known_headers() {
  static const std::unordered_set<std::string> known = [] {
    std::unordered_set<std::string> set = {
        "admission date", "discharge date", "date of birth", "date of admission", "date of discharge", "sex", "service",
        "allergies", "attending", "allergies/adverse reactions", "major surgical or invasive procedure",
        "past surgical history", "psh", "social history", "sh", "family history", "fh", "family hx", "social hx",
        "physical exam", "physical examination", "pe", "exam", "physical exam on admission", "admission physical exam",
        "physical examination on admission", "discharge physical exam", "pertinent results", "laboratory data",
        "laboratory studies", "laboratories", "laboratory", "labs", "labs on admission", "admission labs", "imaging",
        "studies", "radiology", "ekg", "ecg", "brief hospital course", "hospital course", "summary of hospital course",
        "hospital course by system", "hospital course by systems", "hospital course by issue", "concise summary",
        "medications", "meds", "discharge medications", "medications on discharge", "discharge meds",
        "discharge disposition", "disposition", "discharge diagnosis", "discharge diagnoses", "final diagnosis",
        "final diagnoses", "admission diagnosis", "admitting diagnosis", "admission diagnoses", "primary diagnosis",
        "primary diagnoses", "secondary diagnosis", "secondary diagnoses", "principal diagnosis", "diagnosis",
        "diagnoses", "discharge condition", "condition on discharge", "condition at discharge", "discharge status",
        "discharge instructions", "followup instructions", "follow-up instructions", "follow up instructions",
        "followup", "follow-up", "follow up", "review of systems", "ros", "assessment", "plan", "assessment and plan",
        "impression", "findings", "examination", "indication", "procedures", "procedure", "consults", "problem list",
        "active issues", "chronic issues", "transitional issues", "addendum", "dictated by", "facility", "code status"};
    for (const auto& group : spellings()) set.insert(group.begin(), group.end());
    return set;
  }();
  return known;
}

/// Words that begin sentences, not headers.
bool begins_sentence(const std::string& phrase) {
  static const std::unordered_set<std::string> words = {"in",  "on",   "at",   "per",  "upon",    "of",    "he",
                                                        "she", "they", "the",  "this", "patient", "denies", "also",
                                                        "pt",  "his",  "her",  "was",  "and",     "with",  "after"};
  return words.contains(phrase.substr(0, phrase.find(' ')));
}

/// Lower case, single blanks, nothing in parentheses.
std::string normalise(std::string_view phrase) {
  std::string out;
  int depth = 0;
  for (const char c : phrase) {
    if (c == '(') ++depth;
    if (c == ')' && depth > 0) {
      --depth;
      continue;
    }
    if (depth > 0) continue;
    if (c == ' ' || c == '\t') {
      if (!out.empty() && out.back() != ' ') out += ' ';
    } else {
      out += c;
    }
  }
  return lower(trim(out));
}

struct Header {
  std::string phrase;     ///< normalised
  std::string_view rest;  ///< what follows on its line
  bool sure = false;      ///< false: only its blank line before makes it look like one
};

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

bool allowed(char c) {
  return is_letter(c) || (c >= '0' && c <= '9') || std::string_view(" \t/&-()'.+").find(c) != std::string_view::npos ||
         static_cast<unsigned char>(c) >= 0x80;
}

std::optional<Header> header_of(std::string_view line, bool after_blank) {
  while (!line.empty() && std::string_view(" \t\r#*").find(line.front()) != std::string_view::npos) {
    line.remove_prefix(1);
  }
  if (line.empty() || !is_letter(line.front())) return std::nullopt;
  const std::size_t colon = line.substr(0, longest_header).find(':');
  const std::string_view phrase = trim(line.substr(0, colon));
  if (colon == std::string_view::npos) {
    // A known header alone on its line needs no colon.
    if (phrase.size() > longest_header) return std::nullopt;
    Header header{normalise(phrase), {}, true};
    if (header.phrase.find(' ') == std::string::npos || !known_headers().contains(header.phrase)) return std::nullopt;
    return header;
  }
  Header header{normalise(phrase), line.substr(colon + 1), true};
  if (header.phrase.empty()) return std::nullopt;
  if (known_headers().contains(header.phrase)) return header;
  if (!std::all_of(phrase.begin(), phrase.end(), allowed)) return std::nullopt;
  const auto words = 1 + std::count(header.phrase.begin(), header.phrase.end(), ' ');
  if (words > most_words) return std::nullopt;
  if (!header.rest.empty() && header.rest.front() >= '0' && header.rest.front() <= '9') return std::nullopt;  // 10:30
  const bool capital = phrase.front() >= 'A' && phrase.front() <= 'Z';
  if (!capital) return std::nullopt;
  const bool alone = trim(header.rest).empty();
  const bool capitals = std::none_of(phrase.begin(), phrase.end(), [](char c) { return c >= 'a' && c <= 'z'; });
  if (alone || (capitals && words >= 2)) return header;
  if (!after_blank || begins_sentence(header.phrase)) return std::nullopt;
  header.sure = false;
  return header;
}

/// One line, single blanks, placeholders shortened.
std::string clean(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text.substr(i, 3) == "[**") {
      const std::size_t end = text.find("**]", i + 3);
      if (end != std::string_view::npos) {
        out += "___";
        i = end + 2;
        continue;
      }
    }
    const char c = text[i];
    if (c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f' || c == '\v' || c == '\0') {
      if (!out.empty() && out.back() != ' ') out += ' ';
    } else {
      out += c;
    }
  }
  while (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

}  // namespace

std::string canonical_section(std::string_view name) {
  const std::string phrase = normalise(name);
  for (const auto& group : spellings()) {
    if (std::find(group.begin(), group.end(), phrase) != group.end()) return group.front();
  }
  return phrase;
}

SectionFinder::SectionFinder(const std::vector<std::string>& names) {
  for (const std::string& name : names) names_.push_back(canonical_section(name));
  for (std::size_t i = 0; i < names_.size(); ++i) {
    by_phrase_.emplace(names_[i], i);
    for (const auto& group : spellings()) {
      if (group.front() != names_[i]) continue;
      for (const std::string& spelling : group) by_phrase_.emplace(spelling, i);
    }
  }
}

std::vector<std::string> SectionFinder::find(std::string_view note) const {
  std::vector<std::string> found(names_.size());
  std::string text;
  constexpr std::size_t none = static_cast<std::size_t>(-1);
  std::size_t open = none;  // section being read
  const auto close = [&] {
    if (open != none && found[open].empty()) found[open] = clean(text);
    open = none;
    text.clear();
  };
  bool after_blank = true;
  while (!note.empty()) {
    const std::size_t newline = note.find('\n');
    const std::string_view line = note.substr(0, newline);
    note.remove_prefix(newline == std::string_view::npos ? note.size() : newline + 1);
    const bool blank = trim(line).empty();
    const std::optional<Header> header = blank ? std::nullopt : header_of(line, after_blank);
    after_blank = blank;
    const auto chosen = header ? by_phrase_.find(header->phrase) : by_phrase_.end();
    const bool begins = header && chosen != by_phrase_.end();
    // A line that merely looks like a header does not end a section that has no text yet.
    if (header && (begins || header->sure || !trim(text).empty())) {
      close();
      if (begins) {
        open = chosen->second;
        text = header->rest;
        text += '\n';
      }
    } else if (open != none) {
      text += line;
      text += '\n';
    }
  }
  close();
  return found;
}

}  // namespace medfuse::data
