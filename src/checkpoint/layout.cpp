#include "src/checkpoint/layout.h"

#include <hdf5.h>

#include <bit>
#include <functional>
#include <stdexcept>

#include "base/descriptor.h"
#include "base/error.h"
#include "base/hdf5.h"
#include "src/checkpoint/dtype.h"

namespace medfuse::checkpoint {
namespace fs = std::filesystem;
using hdf5::Handle;

static_assert(std::endian::native == std::endian::little, "blocks are written as they lie in memory");

namespace {

/// The library's calls for one file; every failure is one Error that names it.
class Layout {
 public:
  Layout(fs::path path, std::int64_t step) : path_(std::move(path)) {
    Handle access = own(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
    check(H5Pset_alignment(access.get(), kPage, kPage));
#if H5_VERSION_GE(1, 10, 7)
    check(H5Pset_file_locking(access.get(), false, true));  // not every parallel file system has locks
#endif
    file_ = own(H5Fcreate(path_.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get()), H5Fclose);
    link_ = own(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
    check(H5Pset_create_intermediate_group(link_.get(), 1));
    check(H5Pset_char_encoding(link_.get(), H5T_CSET_UTF8));
    creation_ = own(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    check(H5Pset_layout(creation_.get(), H5D_CONTIGUOUS));
    check(H5Pset_alloc_time(creation_.get(), H5D_ALLOC_TIME_EARLY));
    check(H5Pset_fill_time(creation_.get(), H5D_FILL_TIME_NEVER));
    check(H5Pset_attr_phase_change(creation_.get(), 8, 6));
    set_attribute(file_, "step", step);
  }

  void add(Slot& slot) {
    slot.dataset = dataset_name(slot.tensor, slot.box);
    std::vector<hsize_t> extent(slot.box.extent.begin(), slot.box.extent.end());
    const Handle space = extent.empty()
                             ? own(H5Screate(H5S_SCALAR), H5Sclose)
                             : own(H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr), H5Sclose);
    const Handle type = element_type(slot.tensor.dtype);
    const Handle dataset = own(H5Dcreate2(file_.get(), slot.dataset.c_str(), type.get(), space.get(), link_.get(),
                                          creation_.get(), H5P_DEFAULT),
                               H5Dclose);
    const haddr_t address = H5Dget_offset(dataset.get());
    if (address == HADDR_UNDEF) fail();
    slot.byte_offset = static_cast<std::int64_t>(address);
    set_attribute(dataset, "dtype", dtype_name(slot.tensor.dtype));
    set_attribute(dataset, "shape", slot.tensor.shape);
    set_attribute(dataset, "offset", slot.box.offset);
  }

  /// Errors such as a full disk show here.
  void close() {
    check(H5Fflush(file_.get(), H5F_SCOPE_GLOBAL));
    link_ = Handle();
    creation_ = Handle();
    file_ = Handle();
  }

 private:
  static constexpr hsize_t kPage = 4096;

  [[noreturn]] void fail() const {
    data_error("{}: HDF5 cannot lay out the file: the disk may be full or fail; see to it, then run the same command again",
               path_.string());
  }
  void check(herr_t status) const {
    if (status < 0) fail();
  }
  Handle own(hid_t id, Handle::Close closer) const {
    if (id < 0) fail();
    return {id, closer};
  }

  Handle float16_type(size_t exponent_bits, size_t bias) const {
    Handle type = own(H5Tcopy(H5T_IEEE_F32LE), H5Tclose);
    const size_t mantissa_bits = 15 - exponent_bits;
    check(H5Tset_fields(type.get(), 15, mantissa_bits, exponent_bits, 0, mantissa_bits));
    check(H5Tset_size(type.get(), 2));
    check(H5Tset_ebias(type.get(), bias));
    return type;
  }

  Handle element_type(at::ScalarType dtype) const {
    switch (dtype) {
      case at::kDouble:
        return own(H5Tcopy(H5T_IEEE_F64LE), H5Tclose);
      case at::kFloat:
        return own(H5Tcopy(H5T_IEEE_F32LE), H5Tclose);
      case at::kBFloat16:
        return float16_type(8, 127);
      case at::kHalf:
        return float16_type(5, 15);
      case at::kLong:
        return own(H5Tcopy(H5T_STD_I64LE), H5Tclose);
      case at::kInt:
        return own(H5Tcopy(H5T_STD_I32LE), H5Tclose);
      case at::kShort:
        return own(H5Tcopy(H5T_STD_I16LE), H5Tclose);
      case at::kChar:
        return own(H5Tcopy(H5T_STD_I8LE), H5Tclose);
      case at::kByte:
      case at::kBool:
        return own(H5Tcopy(H5T_STD_U8LE), H5Tclose);
      default:
        throw std::logic_error("lay_out: no HDF5 type for " + dtype_name(dtype));
    }
  }

  void write_attribute(const Handle& object, const char* name, const Handle& type, const Handle& space,
                       const void* data) const {
    const Handle attribute =
        own(H5Acreate2(object.get(), name, type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    check(H5Awrite(attribute.get(), type.get(), data));
  }
  void set_attribute(const Handle& object, const char* name, const std::string& value) const {
    const Handle type = own(H5Tcopy(H5T_C_S1), H5Tclose);
    check(H5Tset_size(type.get(), H5T_VARIABLE));
    check(H5Tset_cset(type.get(), H5T_CSET_UTF8));
    const char* const text = value.c_str();
    write_attribute(object, name, type, own(H5Screate(H5S_SCALAR), H5Sclose), &text);
  }
  void set_attribute(const Handle& object, const char* name, std::int64_t value) const {
    write_attribute(object, name, own(H5Tcopy(H5T_STD_I64LE), H5Tclose), own(H5Screate(H5S_SCALAR), H5Sclose), &value);
  }
  void set_attribute(const Handle& object, const char* name, const Shape& values) const {
    if (values.empty()) return;  // a scalar has no shape to tell
    const hsize_t n = values.size();
    write_attribute(object, name, own(H5Tcopy(H5T_STD_I64LE), H5Tclose),
                    own(H5Screate_simple(1, &n, nullptr), H5Sclose), values.data());
  }

  fs::path path_;
  Handle file_, link_, creation_;
};

/// The library prints its own stack of errors unless told not to; the setting is each thread's.
class Quiet {
 public:
  Quiet() {
    H5Eget_auto2(H5E_DEFAULT, &print_, &data_);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }
  ~Quiet() { H5Eset_auto2(H5E_DEFAULT, print_, data_); }
  Quiet(const Quiet&) = delete;
  Quiet& operator=(const Quiet&) = delete;

 private:
  H5E_auto2_t print_ = nullptr;
  void* data_ = nullptr;
};

}  // namespace

std::string dataset_name(const TensorInfo& tensor, const Box& box) {
  if (box.extent == tensor.shape) return tensor.name;
  return fmt::format("{}@{}", tensor.name, fmt::join(box.offset, ","));
}

void lay_out(const fs::path& path, std::int64_t step, std::vector<Slot>& slots) {
  const Quiet quiet;
  Descriptor::create(path);  // with its mode, before the library opens it
  Layout layout(path, step);
  for (Slot& slot : slots) layout.add(slot);
  layout.close();
}

}  // namespace medfuse::checkpoint
