# MEDFUSE_SANITIZE=address,undefined compiles everything with these sanitizers: tests/sanitized.sh. Any finding ends the
# program. MEDFUSE_FUZZ=ON (clang) adds what libFuzzer steers by: tests/fuzz/run.sh.
set(MEDFUSE_SANITIZE "" CACHE STRING "Sanitizers for everything, as -fsanitize takes them")
option(MEDFUSE_FUZZ "Instrument for libFuzzer and build the fuzz targets with it (clang)" OFF)

if(MEDFUSE_FUZZ AND NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  message(FATAL_ERROR "MEDFUSE_FUZZ needs clang++, not ${CMAKE_CXX_COMPILER}: set CMAKE_CXX_COMPILER (tests/fuzz/run.sh does)")
endif()
if(MEDFUSE_SANITIZE)
  # -O1: at -O2 the checks take several times as long to compile and find no more.
  set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O1 -g1")
  add_compile_options(-fsanitize=${MEDFUSE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${MEDFUSE_SANITIZE})
  add_compile_definitions(_GLIBCXX_ASSERTIONS)
endif()
if(MEDFUSE_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

# medfuse_thread_sanitized_test(NAME SOURCES ... [LINK ...] [AGAIN ...]): a test program with the thread sanitizer. AGAIN:
# libraries of ours whose sources it compiles once more, with what they link; SOURCES may name single ones. The sanitizer
# sees nothing of what is compiled without it, so no LibTorch, OpenMP or MPI.
function(medfuse_thread_sanitized_test name)
  if(MEDFUSE_SANITIZE)
    return()  # does not go with other sanitizers
  endif()
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK;AGAIN" ${ARGN})
  foreach(library ${ARG_AGAIN})
    get_target_property(sources ${library} SOURCES)
    get_target_property(folder ${library} SOURCE_DIR)
    list(TRANSFORM sources PREPEND "${folder}/")
    get_target_property(links ${library} LINK_LIBRARIES)
    list(FILTER links EXCLUDE REGEX "^medfuse_")
    list(APPEND ARG_SOURCES ${sources})
    list(APPEND ARG_LINK ${links})
  endforeach()
  medfuse_test(${name} SOURCES ${ARG_SOURCES} LINK ${ARG_LINK})
  target_compile_options(${name} PRIVATE -fsanitize=thread -O1)
  target_link_options(${name} PRIVATE -fsanitize=thread)
endfunction()
