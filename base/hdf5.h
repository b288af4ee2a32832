// Thin owner of HDF5 handles: typed attributes and one-dimensional or two-dimensional datasets, each failure one Error.
// Not thread-safe by itself; the library's own lock serialises calls.
#pragma once

#include <hdf5.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace medfuse::hdf5 {

/// Owns one HDF5 identifier and closes it with the right call.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle() = default;
  Handle(hid_t id, Close close) : id_(id), close_(close) {}
  Handle(Handle&& other) noexcept : id_(other.id_), close_(other.close_) { other.id_ = H5I_INVALID_HID; }
  Handle& operator=(Handle&& other) noexcept;
  ~Handle();
  hid_t get() const { return id_; }
  /// Gives the identifier up; the caller closes it.
  hid_t release() {
    const hid_t id = id_;
    id_ = H5I_INVALID_HID;
    return id;
  }
  explicit operator bool() const { return id_ >= 0; }

 private:
  hid_t id_ = H5I_INVALID_HID;
  Close close_ = nullptr;
};

/// HDF5 type of a C++ element type: int8/uint8/uint16/int32/int64/uint64/float/double.
template <class T>
hid_t native_type();

/// A file opened for reading or created for writing (mode 0600). Errors name the path and the object.
class File {
 public:
  static File create(const std::filesystem::path& path);
  /// Verify a checksum of the file before: malformed HDF5 can crash the library itself.
  static File open(const std::filesystem::path& path);

  template <class T>
  void write(const std::string& name, const std::vector<T>& values);
  /// Row-major matrix of `columns` columns.
  template <class T>
  void write_matrix(const std::string& name, const std::vector<T>& values, std::size_t columns);

  std::vector<std::size_t> shape(const std::string& name) const;
  /// Where the elements of a dataset of type T lie in the file, one after the other: readers that know it need neither
  /// the library nor its lock. Error(data) if the type differs or the dataset is chunked; 0 for an empty dataset.
  template <class T>
  std::uint64_t offset(const std::string& name) const;
  template <class T>
  std::vector<T> read(const std::string& name) const;
  /// Elements [begin, end) of the first dimension, all of the others.
  template <class T>
  std::vector<T> read_rows(const std::string& name, std::size_t begin, std::size_t end) const;

  void set_attribute(const std::string& name, const std::string& value);
  void set_attribute(const std::string& name, std::int64_t value);
  void set_attribute(const std::string& name, double value);
  void set_attribute(const std::string& name, const std::vector<std::string>& values);
  void set_attribute(const std::string& name, const std::vector<double>& values);
  void set_attribute(const std::string& name, const std::vector<std::int64_t>& values);
  std::string string_attribute(const std::string& name) const;
  std::int64_t int_attribute(const std::string& name) const;
  std::vector<std::string> strings_attribute(const std::string& name) const;
  std::vector<double> doubles_attribute(const std::string& name) const;
  std::vector<std::int64_t> ints_attribute(const std::string& name) const;

  bool contains(const std::string& name) const;
  /// Flushes and closes; errors (a full disk) surface here, not in the destructor.
  void close();
  const std::filesystem::path& path() const { return path_; }
  hid_t id() const { return file_.get(); }

 private:
  File(std::filesystem::path path, Handle file) : path_(std::move(path)), file_(std::move(file)) {}
  std::filesystem::path path_;
  Handle file_;
};

}  // namespace medfuse::hdf5
