// One runner at a time in a study's folder.
//
// Contract: the lock is the operating system's (flock) and goes with the process, however that ends. A folder that
// another process holds is an Error that names it. The file stays behind; it means nothing by itself.
#pragma once

#include <filesystem>

namespace foretell::results {

class StudyLock {
 public:
  explicit StudyLock(const std::filesystem::path& folder);    // which is made if it is not there
  static bool is_known(const std::filesystem::path& folder);  // whether it has been locked before
  ~StudyLock();
  StudyLock(const StudyLock&) = delete;
  StudyLock& operator=(const StudyLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace foretell::results
