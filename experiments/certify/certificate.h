// The losslessness certificate: which verifier, on which draft, emits the target's distribution, and whether the checks
// could have told.
//
// Contract: rows are made from the registries, so strategies of plug-ins are certified like our own. A verifier that is
// registered lossless and deviates on any draft that it does not refuse has FAILED; one that is registered lossy shows
// how far it is off. No row is called lossless unless tokens were drafted, accepted and rejected in each of its checks
// and every member of a composition had a part ("not exercised"), and unless the same checks fail biased verifiers on
// the same draft ("without power"); none is called lossy whose loss did not show. The chi-square tests of all rows are
// judged together (Holm 1979), so that many rows do not make a false alarm likely.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "experiments/certify/checks.h"
#include "experiments/certify/controls.h"
#include "experiments/certify/draft_cases.h"

namespace foretell::certify {

enum class Ruling {
  Lossless,
  Lossy,
  PlainDecoding,  // the drafter never drafts: nothing of a verifier but its draw from the target's distribution was
                  // tested
  NotExercised,
  WithoutPower,
  Failed,
  NotApplicable,
};
const char* to_string(Ruling ruling);

// The biased verifier that came closest to passing.
struct ControlFinding {
  std::string name = {};
  bool caught = false;
  std::optional<double> variation = {};  // that enumeration found
  std::optional<double> p_value = {};    // of the chi-square test, where enumeration did not find it
  std::optional<bool> differs = {};      // from the greedy text: of controls at temperature 0
};

struct CertificateRow {
  std::string verifier = {}, draft = {};
  Ruling verdict = Ruling::NotApplicable;
  std::string reason = {};  // of every verdict but lossless
  bool only_verifier =
      false;  // the draft met this verifier alone: its kind met the others (DraftCase::follows_another)
  bool registered_lossless = false;
  std::optional<ExactFindings> exact = {};   // the worst over all toys; expectations of the first
  std::vector<std::string> not_walked = {};  // exact checks that were given up or cut short, and why
  std::optional<ChiSquare> sampled = {};
  std::optional<bool> identical = {};  // at temperature 0, with the greedy text
  bool on_toys = true;                 // else the checks ran on a random transformer: the drafter needs one
  std::optional<bool> real = {};       // whether check_real() passed
  Exercise real_exercise = {};
  Exercise greedy = {};  // of the runs at temperature 0
  std::vector<ControlFinding> controls = {};

  // Of all checks together.
  Exercise exercise() const;
};

// Whether nothing contradicts the registration. Where the verifier or the drafter was asked for by name, a claim to be
// lossless that the checks could not test does not pass either.
bool passes(const CertificateRow& row, bool by_name);

struct CertificateOptions {
  std::string verifier = "all", drafter = "all";
  std::optional<std::string> attention = {};  // as attention_cases() takes it: in place of a drafter
  bool full = false;
  // Called before each row, with its number from 0 and how many there are.
  std::function<void(int, int)> on_row = {};
};

// An Error for a name that nobody registered.
std::vector<CertificateRow> certify(const CertificateOptions& options);

// One pipeline that its maker puts on models of our choice; `deep`: its drafts should reach four tokens with few
// branches.
using SetupOn = std::function<Setup(std::shared_ptr<const KnownModel> target, bool deep)>;
// Whether its drafter takes a toy as target. Some need what a table does not have: they are checked on a transformer
// (real_model.h). What is wrong with a drafter that takes neither is said of the toy: an Error.
bool builds_on_toys(const SetupOn& on);
// The random model that a pipeline is built on where it is no toy: the dense one, or for what needs experts the
// mixture.
std::shared_ptr<const KnownModel> real_target_for(const SetupOn& on, int context = 1024);

struct PipelineClaim {
  std::string verifier = {};
  DraftCase draft = {};
  bool lossless = true;
  bool full = false;
  bool real = false;  // check_real(), too
};
CertificateRow certify_pipeline(const SetupOn& on, const PipelineClaim& claim);

}  // namespace foretell::certify
