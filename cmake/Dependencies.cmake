# Finds every library. LibTorch's own CMake config demands a CUDA toolkit, so its headers and libraries are found here:
# the PyPI wheel and the NVIDIA wheels beside it carry all that compiling and linking against CUDA and NCCL needs.

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE} CACHE STRING "" FORCE)
endif()

if(MEDFUSE_TORCH)
  set(torch_root "${MEDFUSE_TORCH}")
else()
  file(GLOB torch_root "${MEDFUSE_DEPS}/python/lib/python3*/site-packages/torch")
endif()
if(NOT EXISTS "${torch_root}/include/torch/csrc/api/include/torch/torch.h")
  message(FATAL_ERROR "LibTorch not found under '${torch_root}': run launch/install.sh, or set -DMEDFUSE_TORCH=DIR")
endif()
# The NVIDIA wheels (cu13, nccl) that LibTorch was built against lie beside it, unless told otherwise.
if(MEDFUSE_NVIDIA)
  set(nvidia_root "${MEDFUSE_NVIDIA}")
else()
  cmake_path(GET torch_root PARENT_PATH nvidia_root)
  string(APPEND nvidia_root "/nvidia")
endif()
foreach(needed nccl/include/nccl.h cu13/include/cuda_runtime_api.h cu13/include/crt)
  if(NOT EXISTS "${nvidia_root}/${needed}")
    message(FATAL_ERROR "${nvidia_root}/${needed} is missing: install launch/requirements-torch.txt, or set "
      "MEDFUSE_NVIDIA=DIR (environment of launch/build.sh, or -D) to the folder of the CUDA 13 wheels")
  endif()
endforeach()
# For launch/bundle.sh, which leaves out what comes with LibTorch. A wheel's libraries look for NVIDIA's beside it, too.
cmake_path(GET torch_root PARENT_PATH torch_neighbours)
file(WRITE "${CMAKE_BINARY_DIR}/torch_folders" "${torch_root}\n${nvidia_root}\n${torch_neighbours}/nvidia\n")

add_library(torch_deps INTERFACE)
add_library(medfuse::torch ALIAS torch_deps)
# LibTorch ships headers of another fmt than the library that is linked: let the system's come first.
find_package(fmt REQUIRED)
get_target_property(fmt_include fmt::fmt INTERFACE_INCLUDE_DIRECTORIES)
list(GET fmt_include 0 fmt_include)
file(MAKE_DIRECTORY "${CMAKE_BINARY_DIR}/system_fmt")
file(CREATE_LINK "${fmt_include}/fmt" "${CMAKE_BINARY_DIR}/system_fmt/fmt" SYMBOLIC)
# For what needs its types but not its libraries.
add_library(torch_headers INTERFACE)
target_include_directories(torch_headers SYSTEM INTERFACE "${CMAKE_BINARY_DIR}/system_fmt"
  "${torch_root}/include" "${torch_root}/include/torch/csrc/api/include"
  "${nvidia_root}/cu13/include" "${nvidia_root}/nccl/include")
target_link_libraries(torch_deps INTERFACE torch_headers)
# libtorch_cuda registers the CUDA backend when it is loaded: keep it although no symbol of it may be used directly.
target_link_libraries(torch_deps INTERFACE
  "${torch_root}/lib/libtorch_cpu.so" "${torch_root}/lib/libc10.so" -Wl,--push-state,--no-as-needed
  "${torch_root}/lib/libtorch_cuda.so" "${torch_root}/lib/libc10_cuda.so" -Wl,--pop-state
  "${nvidia_root}/nccl/lib/libnccl.so.2" "${nvidia_root}/cu13/lib/libcudart.so.13")
# The wheels' libraries find their own companions through their run paths; the linker need not follow them.
target_link_options(torch_deps INTERFACE -Wl,--allow-shlib-undefined)

find_package(MPI REQUIRED COMPONENTS C)
find_package(HDF5 REQUIRED COMPONENTS C)
find_package(Boost REQUIRED COMPONENTS program_options)
find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)

find_path(CSV_INCLUDE csv.h REQUIRED)
find_library(CSV_LIBRARY csv REQUIRED)
add_library(csv_deps INTERFACE)
target_include_directories(csv_deps SYSTEM INTERFACE "${CSV_INCLUDE}")
target_link_libraries(csv_deps INTERFACE "${CSV_LIBRARY}")

add_library(hdf5_deps INTERFACE)
target_include_directories(hdf5_deps SYSTEM INTERFACE ${HDF5_INCLUDE_DIRS})
target_link_libraries(hdf5_deps INTERFACE ${HDF5_C_LIBRARIES})
target_compile_definitions(hdf5_deps INTERFACE ${HDF5_DEFINITIONS})

if(MEDFUSE_TESTS)
  find_package(GTest REQUIRED)
endif()
