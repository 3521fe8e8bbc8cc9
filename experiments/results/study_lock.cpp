#include "experiments/results/study_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "framework/core/error.h"
#include "framework/io/atomic_file.h"

namespace foretell::results {
namespace {

std::string holder(int descriptor) {
  std::array<char, 32> text{};
  const ssize_t got = ::pread(descriptor, text.data(), text.size() - 1, 0);
  const std::string pid(text.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
  return pid.empty() ? "another process" : "process " + pid.substr(0, pid.find('\n'));
}

std::filesystem::path lock_file(const std::filesystem::path& folder) { return folder / ".lock"; }

// A link is not followed: the process id would be written over what it shows.
void check_ordinary(const std::filesystem::path& file) {
  std::error_code unknown;
  const std::filesystem::file_status status = std::filesystem::symlink_status(file, unknown);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
    fail("{}: is {}; the lock of a results folder is an ordinary file, and nothing may stand in its place",
         file.string(), std::filesystem::is_symlink(status) ? "a symbolic link" : "a folder, a pipe or a device");
}

}  // namespace

bool StudyLock::is_known(const std::filesystem::path& folder) {
  std::error_code unknown;
  return std::filesystem::exists(std::filesystem::symlink_status(lock_file(folder), unknown));
}

StudyLock::StudyLock(const std::filesystem::path& folder) {
  io::make_folder(folder);
  const std::filesystem::path file = lock_file(folder);
  check_ordinary(file);
  descriptor_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
  if (descriptor_ < 0) fail("{}: cannot be opened: {}", file.string(), std::strerror(errno));
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    const std::string who = holder(descriptor_);
    ::close(descriptor_);
    fail("{}: {} is running this study into it; wait for it, name another --out, or give each its --shard",
         folder.string(), who);
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(descriptor_, 0) != 0 || ::pwrite(descriptor_, pid.data(), pid.size(), 0) < 0)
    return;  // a full disk: the lock holds, it only has no name
}

StudyLock::~StudyLock() { ::close(descriptor_); }

}  // namespace foretell::results
