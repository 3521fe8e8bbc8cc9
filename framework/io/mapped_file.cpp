#include "framework/io/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "framework/core/error.h"
#include "framework/core/input_file.h"

namespace foretell::io {
namespace {

class FileDescriptor {
 public:
  explicit FileDescriptor(int value) : value_(value) {}
  ~FileDescriptor() {
    if (value_ >= 0) ::close(value_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return value_; }

 private:
  int value_;
};

}  // namespace

MappedFile MappedFile::open(const std::filesystem::path& path) {
  check_regular_file(path);
  const FileDescriptor descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (descriptor.get() < 0) fail("{}: cannot be opened: {}", path.string(), std::strerror(errno));
  struct stat status {};
  if (::fstat(descriptor.get(), &status) != 0) fail("{}: cannot be examined: {}", path.string(), std::strerror(errno));
  if (status.st_size == 0) fail("{}: is empty", path.string());

  const auto size = static_cast<std::size_t>(status.st_size);
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor.get(), 0);
  if (address == MAP_FAILED) fail("{}: cannot be mapped: {}", path.string(), std::strerror(errno));
  MappedFile file;
  file.mapping_ =
      std::shared_ptr<const void>(address, [size](const void* at) { ::munmap(const_cast<void*>(at), size); });
  file.bytes_ = {static_cast<const std::byte*>(address), size};
  return file;
}

}  // namespace foretell::io
