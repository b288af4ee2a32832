#include <hdf5.h>

#include <cstddef>

#include "base/error.h"
#include "base/hdf5.h"
#include "base/hdf5_calls.h"

namespace medfuse::hdf5 {
namespace {

Handle string_type(const std::filesystem::path& path, const std::string& object) {
  Handle type = own(H5Tcopy(H5T_C_S1), H5Tclose, path, object, "describe");
  check(H5Tset_size(type.get(), H5T_VARIABLE), path, object, "describe");
  check(H5Tset_cset(type.get(), H5T_CSET_UTF8), path, object, "describe");
  return type;
}

Handle create_attribute(hid_t file, const std::filesystem::path& path, const std::string& name, hid_t type,
                        hid_t space) {
  silence();
  if (H5Aexists(file, name.c_str()) > 0) check(H5Adelete(file, name.c_str()), path, name, "replace attribute");
  return own(H5Acreate2(file, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose, path, name,
             "create attribute");
}

Handle open_attribute(hid_t file, const std::filesystem::path& path, const std::string& name) {
  silence();
  if (H5Aexists(file, name.c_str()) <= 0) {
    data_error("{}: attribute '{}' is missing: the file is not what it claims to be, write it again", path.string(),
               name);
  }
  return own(H5Aopen(file, name.c_str(), H5P_DEFAULT), H5Aclose, path, name, "open attribute");
}

/// Number of elements of an attribute whose type is of class `expected`.
std::size_t attribute_size(const Handle& attribute, H5T_class_t expected, const std::filesystem::path& path,
                           const std::string& name) {
  const Handle type = own(H5Aget_type(attribute.get()), H5Tclose, path, name, "read attribute");
  const bool text_of_fixed_size = expected == H5T_STRING && H5Tis_variable_str(type.get()) <= 0;
  if (H5Tget_class(type.get()) != expected || text_of_fixed_size) {
    data_error("{}: attribute '{}' has another type than expected: write the file again", path.string(), name);
  }
  const Handle space = own(H5Aget_space(attribute.get()), H5Sclose, path, name, "read attribute");
  const hssize_t count = H5Sget_simple_extent_npoints(space.get());
  if (count < 0) fail(path, name, "read attribute");
  return static_cast<std::size_t>(count);
}

std::vector<std::string> read_strings(hid_t file, const std::filesystem::path& path, const std::string& name) {
  const Handle attribute = open_attribute(file, path, name);
  const std::size_t count = attribute_size(attribute, H5T_STRING, path, name);
  std::vector<std::string> values(count);
  if (count == 0) return values;
  const Handle type = string_type(path, name);
  const Handle space = own(H5Aget_space(attribute.get()), H5Sclose, path, name, "read attribute");
  std::vector<char*> pointers(count, nullptr);
  check(H5Aread(attribute.get(), type.get(), pointers.data()), path, name, "read attribute");
  for (std::size_t i = 0; i < count; ++i) {
    if (pointers[i] != nullptr) values[i] = pointers[i];
  }
  H5Dvlen_reclaim(type.get(), space.get(), H5P_DEFAULT, pointers.data());
  return values;
}

}  // namespace

void File::set_attribute(const std::string& name, const std::string& value) {
  const Handle type = string_type(path_, name);
  const Handle space = own(H5Screate(H5S_SCALAR), H5Sclose, path_, name, "describe");
  const Handle attribute = create_attribute(id(), path_, name, type.get(), space.get());
  const char* pointer = value.c_str();
  check(H5Awrite(attribute.get(), type.get(), &pointer), path_, name, "write attribute");
}

void File::set_attribute(const std::string& name, std::int64_t value) {
  const Handle space = own(H5Screate(H5S_SCALAR), H5Sclose, path_, name, "describe");
  const Handle attribute = create_attribute(id(), path_, name, H5T_NATIVE_INT64, space.get());
  check(H5Awrite(attribute.get(), H5T_NATIVE_INT64, &value), path_, name, "write attribute");
}

void File::set_attribute(const std::string& name, double value) {
  const Handle space = own(H5Screate(H5S_SCALAR), H5Sclose, path_, name, "describe");
  const Handle attribute = create_attribute(id(), path_, name, H5T_NATIVE_DOUBLE, space.get());
  check(H5Awrite(attribute.get(), H5T_NATIVE_DOUBLE, &value), path_, name, "write attribute");
}

void File::set_attribute(const std::string& name, const std::vector<std::string>& values) {
  const Handle type = string_type(path_, name);
  const hsize_t count = values.size();
  const Handle space = own(H5Screate_simple(1, &count, nullptr), H5Sclose, path_, name, "describe");
  const Handle attribute = create_attribute(id(), path_, name, type.get(), space.get());
  std::vector<const char*> pointers;
  for (const std::string& value : values) pointers.push_back(value.c_str());
  if (values.empty()) return;
  check(H5Awrite(attribute.get(), type.get(), pointers.data()), path_, name, "write attribute");
}

void File::set_attribute(const std::string& name, const std::vector<double>& values) {
  const hsize_t count = values.size();
  const Handle space = own(H5Screate_simple(1, &count, nullptr), H5Sclose, path_, name, "describe");
  const Handle attribute = create_attribute(id(), path_, name, H5T_NATIVE_DOUBLE, space.get());
  if (values.empty()) return;
  check(H5Awrite(attribute.get(), H5T_NATIVE_DOUBLE, values.data()), path_, name, "write attribute");
}

void File::set_attribute(const std::string& name, const std::vector<std::int64_t>& values) {
  const hsize_t count = values.size();
  const Handle space = own(H5Screate_simple(1, &count, nullptr), H5Sclose, path_, name, "describe");
  const Handle attribute = create_attribute(id(), path_, name, H5T_NATIVE_INT64, space.get());
  if (values.empty()) return;
  check(H5Awrite(attribute.get(), H5T_NATIVE_INT64, values.data()), path_, name, "write attribute");
}

std::string File::string_attribute(const std::string& name) const {
  const std::vector<std::string> values = read_strings(id(), path_, name);
  if (values.size() != 1) data_error("{}: attribute '{}' is not one text: write the file again", path_.string(), name);
  return values[0];
}

std::int64_t File::int_attribute(const std::string& name) const {
  const Handle attribute = open_attribute(id(), path_, name);
  if (attribute_size(attribute, H5T_INTEGER, path_, name) != 1) {
    data_error("{}: attribute '{}' is not one number: write the file again", path_.string(), name);
  }
  std::int64_t value = 0;
  check(H5Aread(attribute.get(), H5T_NATIVE_INT64, &value), path_, name, "read attribute");
  return value;
}

std::vector<std::string> File::strings_attribute(const std::string& name) const {
  return read_strings(id(), path_, name);
}

std::vector<double> File::doubles_attribute(const std::string& name) const {
  const Handle attribute = open_attribute(id(), path_, name);
  std::vector<double> values(attribute_size(attribute, H5T_FLOAT, path_, name));
  if (values.empty()) return values;
  check(H5Aread(attribute.get(), H5T_NATIVE_DOUBLE, values.data()), path_, name, "read attribute");
  return values;
}

std::vector<std::int64_t> File::ints_attribute(const std::string& name) const {
  const Handle attribute = open_attribute(id(), path_, name);
  std::vector<std::int64_t> values(attribute_size(attribute, H5T_INTEGER, path_, name));
  if (values.empty()) return values;
  check(H5Aread(attribute.get(), H5T_NATIVE_INT64, values.data()), path_, name, "read attribute");
  return values;
}

}  // namespace medfuse::hdf5
