// Work behind the program's back, on a thread of its own.
#pragma once

#include <functional>
#include <future>
#include <string>

namespace medfuse {

/// Runs `work` on a thread of its own, which takes no signals. The future has the result or the exception; its destructor
/// waits for the end. Not of a lower priority: beside ranks that use all cores it would take several times as long, and the
/// steps meanwhile lose as much in sum.
std::future<std::string> in_background(std::function<std::string()> work);

}  // namespace medfuse
