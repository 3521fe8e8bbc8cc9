// What `foretell certify` leaves beside a plug-in whose drafters passed.
//
// Contract: a small file, libmine.so.certified, that names the drafters, the content of the library and the program's
// ABI tag. It counts only while both are the same; any other file there is as good as none. A run then leaves out the
// check that passes over a drafter's distributions.
#pragma once

#include <filesystem>
#include <set>
#include <string>

namespace foretell::study {

struct PluginCertificate {
  std::string hash;                // of the library
  std::set<std::string> drafters;  // "drafter 'bigram'"
};

std::filesystem::path certificate_file(const std::filesystem::path& plugin);
// The drafters that were certified; none if they were not, or the library was built again.
std::set<std::string> certified_drafters(const std::filesystem::path& plugin, const std::string& hash);
// Adds to what the file holds for the same library. An Error if it cannot be written.
void write_certificate(const std::filesystem::path& plugin, PluginCertificate certificate);

}  // namespace foretell::study
