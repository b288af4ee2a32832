# Compiles headers as the only include of a file of their own, so that each says all that it needs. Where NAME.cpp stands
# beside NAME.h it includes that first, which proves the same (tests/house_test.py sees to it): only the others are
# compiled here. Those of src/, cluster/ and launch/ build on LibTorch and take its precompiled header along,
# which hides a LibTorch header left out.
function(medfuse_headers_alone target torch)
  set(sources)
  foreach(room ${ARGN})
    file(GLOB_RECURSE headers RELATIVE "${CMAKE_SOURCE_DIR}" CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/${room}/*.h")
    foreach(header ${headers})
      cmake_path(REPLACE_EXTENSION header LAST_ONLY ".cpp" OUTPUT_VARIABLE own)
      if(EXISTS "${CMAKE_SOURCE_DIR}/${own}")
        continue()
      endif()
      string(REPLACE "/" "_" name "${header}")
      set(source "${CMAKE_BINARY_DIR}/headers_alone/${name}.cpp")
      file(CONFIGURE OUTPUT "${source}" CONTENT "#include \"${header}\"\n" @ONLY)
      list(APPEND sources "${source}")
    endforeach()
  endforeach()
  add_library(${target} OBJECT ${sources})
  target_link_libraries(${target} PRIVATE fmt::fmt hdf5_deps csv_deps nlohmann_json::nlohmann_json PkgConfig::PCRE2
    PkgConfig::UTF8PROC PkgConfig::XXHASH ZLIB::ZLIB MPI::MPI_C Boost::program_options)
  _medfuse_setup(${target} ${torch})
endfunction()
