// Work behind the program's back: on a thread that gives way to all others.
#pragma once

#include <functional>
#include <future>
#include <string>

namespace medfuse {

/// Runs `work` on a thread of its own, of the lowest priority: it uses what the others leave of the processors. It takes no
/// signals. The future has the result or the exception; its destructor waits for the end.
std::future<std::string> in_background(std::function<std::string()> work);

}  // namespace medfuse
