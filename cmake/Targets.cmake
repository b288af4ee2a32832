# medfuse_library(NAME [TORCH] SOURCES ... [LINK ...]): one library per folder, with the project's warnings.
#   TORCH adds LibTorch and its precompiled header.
# medfuse_test(NAME [TORCH] [RANKS n ...] SOURCES ... [LINK ...]): one test program; with RANKS it is started by mpirun
#   once for each rank count, else alone. Those with neither, and without STARTS, need no LibTorch: they are labelled
#   torch_free, and the target torch_free_tests builds them all. STARTS: programs of ours that the test starts.

add_library(medfuse_warnings INTERFACE)
target_compile_options(medfuse_warnings INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wno-missing-field-initializers)
target_include_directories(medfuse_warnings INTERFACE "${CMAKE_SOURCE_DIR}")

# LibTorch's headers cost 10 to 20 s a file: compile those that are in use once. Everything that reuses them must have the
# same flags. Not <torch/torch.h>: each file that only loads it, precompiled, spends 8 s on templates that nobody uses.
file(WRITE "${CMAKE_BINARY_DIR}/torch_pch.cpp.in" "// Carries the precompiled LibTorch header.\n")
configure_file("${CMAKE_BINARY_DIR}/torch_pch.cpp.in" "${CMAKE_BINARY_DIR}/torch_pch.cpp" COPYONLY)
add_library(medfuse_torch_pch OBJECT "${CMAKE_BINARY_DIR}/torch_pch.cpp")
target_link_libraries(medfuse_torch_pch PUBLIC medfuse::torch medfuse_warnings)
set_target_properties(medfuse_torch_pch PROPERTIES POSITION_INDEPENDENT_CODE OFF)
target_precompile_headers(medfuse_torch_pch PRIVATE <torch/autograd.h>
  <torch/nn/module.h> <torch/nn/modules/linear.h> <torch/nn/modules/normalization.h> <torch/types.h> <torch/utils.h>)

function(_medfuse_setup target torch)
  target_link_libraries(${target} PUBLIC medfuse_warnings)
  if(torch)
    target_link_libraries(${target} PUBLIC medfuse::torch)
    target_precompile_headers(${target} REUSE_FROM medfuse_torch_pch)
  endif()
endfunction()

function(medfuse_library name)
  cmake_parse_arguments(ARG "TORCH" "" "SOURCES;LINK" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC ${ARG_LINK})
  _medfuse_setup(${name} "${ARG_TORCH}")
endfunction()

add_custom_target(torch_free_tests)

function(medfuse_test name)
  cmake_parse_arguments(ARG "TORCH" "" "RANKS;SOURCES;LINK;STARTS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LINK})
  _medfuse_setup(${name} "${ARG_TORCH}")
  if(ARG_RANKS)
    target_link_libraries(${name} PRIVATE medfuse_mpi_main GTest::gtest)
    foreach(ranks ${ARG_RANKS})
      add_test(NAME ${name}.${ranks}ranks
        COMMAND mpirun --oversubscribe --bind-to none -np ${ranks} $<TARGET_FILE:${name}>
        WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}")
      set_tests_properties(${name}.${ranks}ranks PROPERTIES TIMEOUT 600 PROCESSORS 2 ENVIRONMENT
        "OMP_NUM_THREADS=1;OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1")
    endforeach()
  else()
    target_link_libraries(${name} PRIVATE GTest::gmock GTest::gtest GTest::gtest_main)
    add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}")
    set_tests_properties(${name} PROPERTIES TIMEOUT 600 ENVIRONMENT "OMP_NUM_THREADS=1;OMPI_MCA_ess_singleton_isolated=1")
    if(ARG_STARTS)
      add_dependencies(${name} ${ARG_STARTS})
    elseif(NOT ARG_TORCH)
      set_tests_properties(${name} PROPERTIES LABELS torch_free)
      add_dependencies(torch_free_tests ${name})
    endif()
  endif()
endfunction()
