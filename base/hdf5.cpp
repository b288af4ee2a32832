#include "base/hdf5.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <type_traits>

#include "base/error.h"
#include "base/hdf5_calls.h"

namespace medfuse::hdf5 {
namespace {

/// Properties of new objects: no time stamps, so that equal content gives equal bytes.
Handle without_times(hid_t cls, const std::filesystem::path& path) {
  Handle list = own(H5Pcreate(cls), H5Pclose, path, "properties", "create");
  check(H5Pset_obj_track_times(list.get(), false), path, "properties", "set");
  return list;
}

/// Ranks write files of their own and readers see complete files only, so locks are not needed (and fail on some
/// parallel file systems).
Handle access_list(const std::filesystem::path& path) {
  Handle list = own(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, path, "file access", "create");
  check(H5Pset_fclose_degree(list.get(), H5F_CLOSE_STRONG), path, "file access", "set");
#if H5_VERSION_GE(1, 12, 1) || (H5_VERSION_GE(1, 10, 7) && !H5_VERSION_GE(1, 12, 0))
  check(H5Pset_file_locking(list.get(), false, true), path, "file access", "set");
#endif
  return list;
}

bool exists(hid_t file, const std::string& name) {
  for (std::size_t slash = name.find('/', 1);; slash = name.find('/', slash + 1)) {
    if (H5Lexists(file, name.substr(0, slash).c_str(), H5P_DEFAULT) <= 0) return false;
    if (slash == std::string::npos) return true;
  }
}

/// Groups are made one by one: groups that the library makes on the way would carry time stamps.
void make_parents(hid_t file, const std::filesystem::path& path, const std::string& name) {
  for (std::size_t slash = name.find('/', 1); slash != std::string::npos; slash = name.find('/', slash + 1)) {
    const std::string group = name.substr(0, slash);
    if (H5Lexists(file, group.c_str(), H5P_DEFAULT) > 0) continue;
    const Handle list = without_times(H5P_GROUP_CREATE, path);
    own(H5Gcreate2(file, group.c_str(), H5P_DEFAULT, list.get(), H5P_DEFAULT), H5Gclose, path, group, "create");
  }
}

Handle open_dataset(hid_t file, const std::filesystem::path& path, const std::string& name) {
  silence();
  if (!exists(file, name)) {
    data_error("{}: dataset '{}' is missing: the file is not what it claims to be, write it again", path.string(),
               name);
  }
  return own(H5Dopen2(file, name.c_str(), H5P_DEFAULT), H5Dclose, path, name, "open dataset");
}

std::vector<hsize_t> dimensions(hid_t space, const std::filesystem::path& path, const std::string& name) {
  const int rank = H5Sget_simple_extent_ndims(space);
  if (rank < 0) fail(path, name, "read the shape of");
  std::vector<hsize_t> dims(static_cast<std::size_t>(rank));
  if (rank > 0) check(H5Sget_simple_extent_dims(space, dims.data(), nullptr), path, name, "read the shape of");
  return dims;
}

/// Integers are never read as floats or the other way round, and never narrowed.
template <class T>
void check_type(hid_t type, const std::filesystem::path& path, const std::string& name) {
  const H5T_class_t expected = std::is_floating_point_v<T> ? H5T_FLOAT : H5T_INTEGER;
  if (H5Tget_class(type) != expected || H5Tget_size(type) != sizeof(T)) {
    data_error("{}: '{}' has another element type than expected ({} of {} bytes): write the file again", path.string(),
               name, expected == H5T_FLOAT ? "float" : "integer", sizeof(T));
  }
}

}  // namespace

Handle& Handle::operator=(Handle&& other) noexcept {
  if (this != &other) {
    if (id_ >= 0 && close_ != nullptr) close_(id_);
    id_ = other.id_;
    close_ = other.close_;
    other.id_ = H5I_INVALID_HID;
  }
  return *this;
}

Handle::~Handle() {
  if (id_ >= 0 && close_ != nullptr) close_(id_);
}

template <> hid_t native_type<std::int8_t>() { return H5T_NATIVE_INT8; }
template <> hid_t native_type<std::uint8_t>() { return H5T_NATIVE_UINT8; }
template <> hid_t native_type<std::uint16_t>() { return H5T_NATIVE_UINT16; }
template <> hid_t native_type<std::int32_t>() { return H5T_NATIVE_INT32; }
template <> hid_t native_type<std::int64_t>() { return H5T_NATIVE_INT64; }
template <> hid_t native_type<std::uint64_t>() { return H5T_NATIVE_UINT64; }
template <> hid_t native_type<float>() { return H5T_NATIVE_FLOAT; }
template <> hid_t native_type<double>() { return H5T_NATIVE_DOUBLE; }

File File::create(const std::filesystem::path& path) {
  silence();
  // The library would create the file with the umask's mode: create it ourselves, readable by the owner only.
  const int fd = ::open(path.c_str(), O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0 || ::fchmod(fd, 0600) != 0) {
    const int error = errno;
    if (fd >= 0) ::close(fd);
    data_error("{}: cannot create the file ({}): check the folder and its permissions", path.string(),
               std::strerror(error));
  }
  ::close(fd);
  const Handle creation = without_times(H5P_FILE_CREATE, path);
  const Handle access = access_list(path);
  // Format of HDF5 1.8: attributes over 64 KiB and checksummed metadata, readable by every later version.
  check(H5Pset_libver_bounds(access.get(), H5F_LIBVER_V18, H5F_LIBVER_LATEST), path, "file access", "set");
  return File(path, own(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation.get(), access.get()), H5Fclose, path, "/",
                        "create"));
}

File File::open(const std::filesystem::path& path) {
  silence();
  const Handle access = access_list(path);
  const hid_t id = H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get());
  if (id < 0) data_error("{}: cannot be opened as HDF5 ({}): write it again", path.string(), reason());
  return File(path, Handle(id, H5Fclose));
}

template <class T>
void File::write(const std::string& name, const std::vector<T>& values) {
  write_matrix(name, values, 0);
}

template <class T>
void File::write_matrix(const std::string& name, const std::vector<T>& values, std::size_t columns) {
  silence();
  // Zero columns stands for a one-dimensional dataset.
  if (columns > 0 && values.size() % columns != 0) {
    throw std::logic_error(fmt::format("write_matrix('{}'): {} values do not fill rows of {}", name, values.size(),
                                       columns));
  }
  const hsize_t dims[2] = {columns > 0 ? values.size() / columns : values.size(), columns};
  make_parents(id(), path_, name);
  const Handle space = own(H5Screate_simple(columns > 0 ? 2 : 1, dims, nullptr), H5Sclose, path_, name, "describe");
  const Handle creation = without_times(H5P_DATASET_CREATE, path_);
  const Handle dataset = own(H5Dcreate2(id(), name.c_str(), native_type<T>(), space.get(), H5P_DEFAULT, creation.get(),
                                        H5P_DEFAULT),
                             H5Dclose, path_, name, "create dataset");
  if (values.empty()) return;
  check(H5Dwrite(dataset.get(), native_type<T>(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), path_, name,
        "write dataset");
}

std::vector<std::size_t> File::shape(const std::string& name) const {
  const Handle dataset = open_dataset(id(), path_, name);
  const Handle space = own(H5Dget_space(dataset.get()), H5Sclose, path_, name, "read the shape of");
  const std::vector<hsize_t> dims = dimensions(space.get(), path_, name);
  return {dims.begin(), dims.end()};
}

template <class T>
std::uint64_t File::offset(const std::string& name) const {
  const Handle dataset = open_dataset(id(), path_, name);
  const Handle type = own(H5Dget_type(dataset.get()), H5Tclose, path_, name, "read the type of");
  check_type<T>(type.get(), path_, name);
  const Handle space = own(H5Dget_space(dataset.get()), H5Sclose, path_, name, "read the shape of");
  const hssize_t count = H5Sget_simple_extent_npoints(space.get());
  if (count < 0) fail(path_, name, "read the shape of");
  if (count == 0) return 0;
  const haddr_t offset = H5Dget_offset(dataset.get());
  if (offset == HADDR_UNDEF || H5Tequal(type.get(), native_type<T>()) <= 0 ||
      H5Dget_storage_size(dataset.get()) / sizeof(T) != static_cast<hsize_t>(count)) {
    data_error("{}: '{}' is chunked, compressed or incomplete, a contiguous dataset is needed: write the file again",
               path_.string(), name);
  }
  return offset;
}

template <class T>
std::vector<T> File::read(const std::string& name) const {
  const std::vector<std::size_t> dims = shape(name);
  if (dims.empty()) data_error("{}: '{}' is a single value, not an array: write the file again", path_.string(), name);
  return read_rows<T>(name, 0, dims[0]);
}

template <class T>
std::vector<T> File::read_rows(const std::string& name, std::size_t begin, std::size_t end) const {
  const Handle dataset = open_dataset(id(), path_, name);
  const Handle type = own(H5Dget_type(dataset.get()), H5Tclose, path_, name, "read the type of");
  check_type<T>(type.get(), path_, name);
  const Handle space = own(H5Dget_space(dataset.get()), H5Sclose, path_, name, "read the shape of");
  std::vector<hsize_t> dims = dimensions(space.get(), path_, name);
  if (dims.empty() || begin > end || end > dims[0]) {
    data_error("{}: '{}' has {} rows, rows {} to {} were wanted: the file does not match its index, write it again",
               path_.string(), name, dims.empty() ? 0 : dims[0], begin, end);
  }
  std::size_t row = 1;  // elements in a row
  for (std::size_t i = 1; i < dims.size(); ++i) {
    if (dims[i] != 0 && row > std::numeric_limits<std::size_t>::max() / sizeof(T) / dims[i]) {
      data_error("{}: '{}' claims an impossible size: write the file again", path_.string(), name);
    }
    row *= dims[i];
  }
  const std::size_t rows = end - begin;
  // A dataset may claim more than the file stores; do not allocate for a lie.
  if (row != 0 && rows > H5Dget_storage_size(dataset.get()) / sizeof(T) / row) {
    const Handle creation = own(H5Dget_create_plist(dataset.get()), H5Pclose, path_, name, "read the layout of");
    if (H5Pget_layout(creation.get()) != H5D_CHUNKED) {
      data_error("{}: '{}' is shorter than it claims: write the file again", path_.string(), name);
    }
  }
  std::vector<T> values(rows * row);
  if (values.empty()) return values;
  std::vector<hsize_t> start(dims.size(), 0);
  start[0] = begin;
  dims[0] = rows;
  check(H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, start.data(), nullptr, dims.data(), nullptr), path_, name,
        "select rows of");
  const Handle memory = own(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr), H5Sclose, path_,
                            name, "select rows of");
  check(H5Dread(dataset.get(), native_type<T>(), memory.get(), space.get(), H5P_DEFAULT, values.data()), path_, name,
        "read dataset");
  return values;
}

bool File::contains(const std::string& name) const {
  silence();
  return exists(id(), name);
}

void File::close() {
  silence();
  if (!file_) return;
  check(H5Fflush(file_.get(), H5F_SCOPE_GLOBAL), path_, "/", "flush");
  const herr_t status = H5Fclose(file_.release());
  check(status, path_, "/", "close");
}

#define MEDFUSE_HDF5_ELEMENT(T)                                                                \
  template void File::write(const std::string&, const std::vector<T>&);                        \
  template void File::write_matrix(const std::string&, const std::vector<T>&, std::size_t);    \
  template std::uint64_t File::offset<T>(const std::string&) const;                            \
  template std::vector<T> File::read(const std::string&) const;                                \
  template std::vector<T> File::read_rows(const std::string&, std::size_t, std::size_t) const;
MEDFUSE_HDF5_ELEMENT(std::int8_t)
MEDFUSE_HDF5_ELEMENT(std::uint8_t)
MEDFUSE_HDF5_ELEMENT(std::uint16_t)
MEDFUSE_HDF5_ELEMENT(std::int32_t)
MEDFUSE_HDF5_ELEMENT(std::int64_t)
MEDFUSE_HDF5_ELEMENT(std::uint64_t)
MEDFUSE_HDF5_ELEMENT(float)
MEDFUSE_HDF5_ELEMENT(double)
#undef MEDFUSE_HDF5_ELEMENT

}  // namespace medfuse::hdf5
