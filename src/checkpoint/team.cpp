#include "src/checkpoint/team.h"

#include <exception>
#include <filesystem>
#include <stdexcept>

#include "src/checkpoint/errors.h"

namespace medfuse::checkpoint {

namespace {

// First letter of what a rank tells the others: a result, or the kind of its error.
constexpr char kResult = 'r', kDamaged = 'd', kError = 'e', kLogic = 'l', kOther = 'o';

std::string outcome(const std::function<std::string()>& work) {
  try {
    return kResult + work();
  } catch (const DamagedError& error) {
    return kDamaged + std::string(error.what());
  } catch (const Error& error) {
    return std::string{kError, static_cast<char>(error.code())} + error.what();
  } catch (const std::filesystem::filesystem_error& error) {
    return std::string{kError, static_cast<char>(ExitCode::data)} + error.what();
  } catch (const std::logic_error& error) {
    return kLogic + std::string(error.what());
  } catch (const std::exception& error) {
    return kOther + std::string(error.what());
  }
}

[[noreturn]] void rethrow(const std::string& text, const std::string& where) {
  switch (text.at(0)) {
    case kDamaged:
      throw DamagedError(where + text.substr(1));
    case kError:
      throw Error(static_cast<ExitCode>(text.at(1)), where + text.substr(2));
    case kLogic:
      throw std::logic_error(where + text.substr(1));
    default:
      throw std::runtime_error(where + text.substr(1));
  }
}

}  // namespace

Team Team::alone() {
  return {0, 1, [](const std::string& text) { return std::vector<std::string>{text}; }};
}

std::vector<std::string> gather_or_throw(const Team& team, const std::function<std::string()>& work) {
  std::vector<std::string> results = team.all_gather(outcome(work));
  for (std::size_t rank = 0; rank < results.size(); ++rank) {
    if (results[rank].at(0) != kResult) rethrow(results[rank], team.size > 1 ? fmt::format("rank {}: ", rank) : "");
  }
  for (std::string& result : results) result.erase(0, 1);
  return results;
}

}  // namespace medfuse::checkpoint
