// The losslessness certificate: which verifier, on which draft, emits the target's law.
//
// Contract: rows are made from the registries, so strategies of plug-ins are certified like our own. A verifier that is registered lossless and
// deviates on any draft that it does not refuse has FAILED; one that is registered lossy shows how far it is off. The chi-square tests of all rows
// are judged together (Holm 1979), so that many rows do not make a false alarm likely.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "experiments/certify/checks.h"

namespace foretell::certify {

// A drafter, configured; `tree` is a tree policy or empty.
struct DraftCase {
  std::string name;  // "tree, without replacement"
  std::string drafter;
  std::string tree;
  bool many_branches = false;  // too many for whatever need not be proven
};

enum class Ruling { Lossless, Lossy, Failed, NotApplicable };
const char* to_string(Ruling ruling);

struct CertificateRow {
  std::string verifier = {}, draft = {};
  Ruling verdict = Ruling::NotApplicable;
  std::string reason = {};  // why it failed or does not apply; else empty
  bool registered_lossless = false;
  std::optional<ExactFindings> exact = {};  // the worst over all toy laws; expectations of the first
  std::optional<double> p_value = {};       // of the chi-square test
  std::optional<bool> identical = {};       // at temperature 0, with the greedy text
};

struct CertificateOptions {
  std::string verifier = "all", drafter = "all";
  bool full = false;
  // Called before each row, with its number from 0 and how many there are.
  std::function<void(int, int)> on_row = {};
};

// An Error for a name that nobody registered.
std::vector<CertificateRow> certify(const CertificateOptions& options);

}  // namespace foretell::certify
